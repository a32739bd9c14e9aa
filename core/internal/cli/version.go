package cli

import (
	"cmp"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is what `platformd version` prints.
type build struct {
	Version string `json:"version"`
	// Commit has the suffix "-dirty" if the checkout had changes; "unknown" if the build did not record it.
	Commit   string `json:"commit"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (a *app) build() build {
	b := build{
		Version: a.deps.Version, Commit: a.deps.Commit, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.Version = cmp.Or(b.Version, info.Main.Version)
		b.Commit = cmp.Or(b.Commit, commit(info.Settings))
	}
	b.Version, b.Commit = cmp.Or(b.Version, "unknown"), cmp.Or(b.Commit, "unknown")
	return b
}

func commit(settings []debug.BuildSetting) string {
	values := map[string]string{}
	for _, s := range settings {
		values[s.Key] = s.Value
	}
	if values["vcs.modified"] == "true" {
		return values["vcs.revision"] + "-dirty"
	}
	return values["vcs.revision"]
}

func (a *app) version() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Show what this binary was built from"}
	return a.printer(cmd, func(*cobra.Command, []string) error {
		b := a.build()
		if a.format == formatJSON {
			return a.out.json(b)
		}
		return a.out.fields([][2]string{
			{"platformd", b.Version}, {"commit", b.Commit}, {"go", b.Go}, {"platform", b.Platform},
		})
	})
}

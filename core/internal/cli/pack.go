package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/archive"
	"github.com/platformd/platformd/core/internal/packing"
	"github.com/platformd/platformd/core/internal/scaffold"
)

func (a *app) newCommand() *cobra.Command {
	return a.group(&cobra.Command{Use: "new", Short: "Begin a module"}, a.newModule())
}

func (a *app) newModule() *cobra.Command {
	var o scaffold.Options
	cmd := &cobra.Command{
		Use:   "module NAME",
		Short: "Make the folder of a new module in Go, which builds and passes its tests",
		Long: "Makes a module in Go: manifest, code, tests. It is built against the SDK of this platformd's version; within a\n" +
			"checkout of platformd, or with --sdk, against that, and then without a download.",
		Example: "  platformd new module guestbook",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&o.Dir, "dir", "", "`folder` to make, or an empty one (default: ./NAME)")
	cmd.Flags().StringVar(&o.GoModule, "go-module", "", "`path` of the Go module (default: example.com/NAME)")
	cmd.Flags().StringVar(&o.SDK, "sdk", "", "`folder` of a checkout of platformd to build against")
	return a.action(cmd, func(_ *cobra.Command, args []string) error {
		o.Name, o.Version = args[0], a.build().Version
		report, err := scaffold.New(o)
		if err != nil {
			return err
		}
		for _, name := range report.Files {
			fmt.Fprintln(a.out, clean(report.Dir+"/"+name))
		}
		fmt.Fprintf(a.err, "next:\n  %s\n", cleanLines(strings.Join(report.Commands, "\n  ")))
		return nil
	})
}

func (a *app) pack() *cobra.Command {
	var o packing.Options
	cmd := &cobra.Command{
		Use:   "pack [PATH]",
		Short: "Make a package of a module's folder",
		Long: "Makes NAME-VERSION.tar.gz of the module in PATH, the working directory unless it is given. The same files make the\n" +
			"same bytes.\n\n" +
			"A folder with Go code is built for each platform, without cgo; the package holds the executables and what the module\n" +
			"needs beside them: the manifest, schemas, migrations, *.binpb (descriptors of services), LICENSE, README. Any other\n" +
			"folder is packed as it is, without what is hidden: its executable at runtime.executable, or one for each platform at\n" +
			"bin/OS_ARCH/NAME.",
		Example: "  platformd pack --platforms linux/amd64,linux/arm64",
		Args:    cobra.MaximumNArgs(1),
	}
	cmd.Flags().StringSliceVar(&o.Platforms, "platforms", nil,
		"`platforms` it is for, such as linux/amd64,linux/arm64 (default: this machine's, or what the executable is made for)")
	cmd.Flags().StringVar(&o.Main, "main", "", "`folder` of the main package of a module in Go, within PATH (default: PATH)")
	cmd.Flags().StringVarP(&o.Output, "output", "o", "", "`file` to write, which is replaced when the package is whole")
	_ = cmd.RegisterFlagCompletionFunc("platforms", cobra.FixedCompletions(archive.Platforms(), cobra.ShellCompDirectiveNoFileComp))
	return a.action(cmd, func(cmd *cobra.Command, args []string) error {
		o.Dir = append(args, ".")[0]
		began, bar := time.Now(), a.bar()
		o.Progress = bar.show
		report, err := packing.Pack(cmd.Context(), o)
		bar.end()
		if err != nil {
			return err
		}
		for _, note := range report.Notes {
			fmt.Fprintln(a.err, "note: "+clean(note))
		}
		return a.showPacked(report, time.Since(began))
	})
}

func (a *app) showPacked(r *packing.Report, took time.Duration) error {
	return a.out.fields([][2]string{
		{"file", r.File},
		{"module", r.Package.Manifest.Name + " " + r.Package.Manifest.Version},
		{"platforms", strings.Join(r.Package.Platforms, ", ")},
		{"files", fmt.Sprint(len(r.Package.Files))},
		{"size", fmt.Sprintf("%d bytes, %d unpacked", r.Package.Size, r.Package.Unpacked)},
		{"sha256", r.Package.SHA256},
		{"took", took.Round(time.Millisecond).String()},
	})
}

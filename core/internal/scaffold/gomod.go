package scaffold

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

// The Go modules that a module is built with.
const (
	root  = "github.com/platformd/platformd/"
	sdk   = root + "plugin-api"
	proto = root + "proto"
)

// goVersion is what the SDK needs.
const goVersion = "1.26.0"

// release is a version under which the SDK is published; what lies between two of them is not.
var release = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-(alpha|beta|rc)\.[0-9]+)?$`)

// goFiles are go.mod and, against a checkout, go.sum.
type goFiles struct {
	files    []file
	complete bool // nothing has to be looked up
}

func newGoFiles(o Options, dir string) (*goFiles, error) {
	if err := module.CheckImportPath(o.GoModule); err != nil {
		return nil, fmt.Errorf("the path of a Go module: %w (fix: use one such as example.com/%s)", err, o.Name)
	}
	mod := &modfile.File{}
	if err := errors.Join(mod.AddModuleStmt(o.GoModule), mod.AddGoStmt(goVersion)); err != nil {
		return nil, err
	}
	checkout, err := checkoutFor(o, dir)
	if err != nil {
		return nil, err
	}
	if checkout != "" {
		return againstCheckout(mod, checkout, dir)
	}
	version := strings.TrimPrefix(o.Version, "v")
	if !release.MatchString(version) {
		return nil, fmt.Errorf("this is platformd %s, which is no release, so its SDK cannot be downloaded "+
			"(fix: name a checkout of platformd: --sdk FOLDER)", o.Version)
	}
	if err := mod.AddRequire(sdk, "v"+version); err != nil {
		return nil, err
	}
	text, err := mod.Format()
	return &goFiles{files: []file{{"go.mod", text}}}, err
}

// checkoutFor returns the folder of the checkout to build against, which is absolute if it was named so; "" is none.
func checkoutFor(o Options, dir string) (string, error) {
	if o.SDK == "" {
		found := around(dir, isCheckout)
		if found == "" {
			return "", nil
		}
		return filepath.Rel(dir, found)
	}
	if !isCheckout(o.SDK) {
		return "", fmt.Errorf("%s is no checkout of platformd: it has no plugin-api/go.mod of %s (fix: name its folder with --sdk)",
			o.SDK, sdk)
	}
	if filepath.IsAbs(o.SDK) {
		return o.SDK, nil
	}
	absolute, err := filepath.Abs(o.SDK)
	if err != nil {
		return "", fmt.Errorf("find the checkout of platformd: %w", err)
	}
	return filepath.Rel(dir, absolute) // so that both can move together
}

// around returns the nearest folder above dir that is wanted, or "".
func around(dir string, wanted func(string) bool) string {
	for {
		above := filepath.Dir(dir)
		if above == dir {
			return ""
		}
		if dir = above; wanted(dir) {
			return dir
		}
	}
}

func isCheckout(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "plugin-api", "go.mod"))
	return err == nil && modfile.ModulePath(text) == sdk
}

// againstCheckout requires all that the SDK requires, in the versions that it is tested with: then nothing has to be looked up.
func againstCheckout(mod *modfile.File, checkout, dir string) (*goFiles, error) {
	from := checkout
	if !filepath.IsAbs(from) {
		from = filepath.Join(dir, from)
	}
	theirs, sums, err := readSDK(from)
	if err != nil {
		return nil, fmt.Errorf("read the SDK in %s: %w (fix: name a whole checkout of platformd with --sdk)", from, err)
	}
	requires := []*modfile.Require{{Mod: module.Version{Path: sdk, Version: "v0.0.0"}}}
	for _, r := range theirs.Require {
		requires = append(requires, &modfile.Require{Mod: r.Mod, Indirect: true})
	}
	mod.SetRequireSeparateIndirect(requires)
	for _, path := range []string{sdk, proto} {
		folder := filepath.ToSlash(filepath.Join(checkout, strings.TrimPrefix(path, root)))
		if err := mod.AddReplace(path, "", folder, ""); err != nil {
			return nil, err
		}
	}
	mod.Cleanup()
	text, err := mod.Format()
	return &goFiles{files: []file{{"go.mod", text}, {"go.sum", sums}}, complete: true}, err
}

func readSDK(checkout string) (mod *modfile.File, sums []byte, err error) {
	path := filepath.Join(checkout, "plugin-api", "go.mod")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	if mod, err = modfile.Parse(path, text, nil); err != nil {
		return nil, nil, err
	}
	sums, err = os.ReadFile(filepath.Join(checkout, "plugin-api", "go.sum"))
	return mod, sums, err
}

func (g *goFiles) commands(shown, dir string) []string {
	commands := []string{"cd " + shown}
	if around(dir, hasWorkspace) != "" {
		commands = append(commands, "go work use .")
	}
	if !g.complete {
		commands = append(commands, "go mod tidy")
	}
	return append(commands, "go test ./...", "platformd pack")
}

func hasWorkspace(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.work"))
	return !errors.Is(err, fs.ErrNotExist)
}

package packing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/platformd/platformd/core/internal/archive"
)

// killDelay is how long the output of a build that was ended may be waited for.
const killDelay = 5 * time.Second

// maxOutput bounds what is shown of a build that fails.
const maxOutput = 8 << 10

// build makes the executable of a module in Go. Neither where it is built nor when gets into it.
func (p *packing) build(ctx context.Context, platform string) error {
	goos, goarch, _ := strings.Cut(platform, "/")
	target := filepath.Join(p.scratch, goos+"_"+goarch)
	main := "."
	if p.Main != "" {
		main = "./" + filepath.ToSlash(filepath.Clean(p.Main))
	}
	//nolint:gosec // the author's own folder, which `go build` is asked to build
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", target, main)
	c.Dir, c.WaitDelay = p.Dir, killDelay
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch)
	out, err := c.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("the module is written in Go, and there is no `go` on the PATH " +
			"(fix: install Go from https://go.dev/dl)")
	case err != nil:
		return fmt.Errorf("build for %s: %w\n%s (fix: correct what the compiler names; `go build %s` in %s shows it, too)",
			platform, err, tail(out), main, p.Dir)
	}
	made, err := platformOf(target)
	if err != nil {
		return err
	}
	if made != platform {
		return fmt.Errorf("what `go build %s` makes in %s is no executable for %s "+
			"(fix: name the folder of the main package: --main ./cmd/%s)", main, p.Dir, platform, p.manifest.Name)
	}
	p.addExecutable(platform, target)
	return nil
}

func tail(out []byte) []byte {
	out = bytes.TrimSpace(out)
	return out[max(0, len(out)-maxOutput):]
}

func (p *packing) addExecutable(platform, path string) {
	name := archive.ExecutableName(platform, p.manifest.Name)
	p.sources = append(p.sources, archive.Source{Name: name, Path: path, Executable: true})
}

// takeExecutables finds those that are in the folder already: bin/OS_ARCH/NAME, as in a package, or the one that the manifest
// names.
func (p *packing) takeExecutables() error {
	if len(p.Platforms) == 0 {
		found, err := p.platforms()
		if err != nil {
			return err
		}
		p.Platforms = found
	}
	for _, platform := range p.Platforms {
		path := p.executable(platform)
		made, err := p.checkExecutable(path)
		if err != nil {
			return err
		}
		if made != platform && made != archive.Script {
			return fmt.Errorf("%s is an executable for %s, not for %s (fix: put the one for it at %s, or leave it out of --platforms)",
				path, made, platform, filepath.Join(p.Dir, filepath.FromSlash(archive.ExecutableName(platform, p.manifest.Name))))
		}
		p.addExecutable(platform, path)
	}
	return nil
}

// platforms are those that there are executables for. A script is for this machine: who knows where its interpreter is besides?
func (p *packing) platforms() (found []string, err error) {
	for _, platform := range archive.Platforms() {
		if _, err := os.Lstat(p.builtFor(platform)); err == nil {
			found = append(found, platform)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	made, err := p.checkExecutable(p.named())
	if made == archive.Script {
		made = runtime.GOOS + "/" + runtime.GOARCH
	}
	return []string{made}, err
}

func (p *packing) named() string {
	return filepath.Join(p.Dir, filepath.FromSlash(p.manifest.Runtime.Executable))
}

func (p *packing) builtFor(platform string) string {
	return filepath.Join(p.Dir, filepath.FromSlash(archive.ExecutableName(platform, p.manifest.Name)))
}

func (p *packing) executable(platform string) string {
	if path := p.builtFor(platform); exists(path) {
		return path
	}
	return p.named()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// checkExecutable returns what the executable is made for.
func (p *packing) checkExecutable(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", fmt.Errorf("the folder holds no Go code, and no executable: %w "+
			"(fix: build it there, or correct runtime.executable in module.yaml)", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is no ordinary file (fix: put the executable itself there)", path)
	}
	if info.Mode().Perm()&0o111 == 0 {
		return "", fmt.Errorf("%s may not be executed (fix: chmod +x %[1]s)", path)
	}
	made, err := platformOf(path)
	if err == nil && made == "" {
		err = fmt.Errorf("%s is no executable that we know: neither ELF nor Mach-O, nor a script that begins with #! "+
			"(fix: build it for one of %s)", path, strings.Join(archive.Platforms(), ", "))
	}
	return made, err
}

func platformOf(path string) (string, error) {
	file, err := archive.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	head, err := io.ReadAll(io.LimitReader(file, archive.HeadSize))
	return archive.PlatformOf(head), err
}

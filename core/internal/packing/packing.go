// Package packing makes a package of a module's folder: it builds the executables of one that is written in Go, takes those of
// any other as they are, and gathers what the module needs beside them.
//
// Floor 2. It must not run what it packs, nor know what becomes of a package: archive says what one is, and judges each that is
// made.
package packing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/platformd/platformd/core/internal/archive"
	"github.com/platformd/platformd/core/internal/sqlfiles"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// Options say what is packed.
type Options struct {
	// Dir is the folder with module.yaml.
	Dir string
	// Main is the folder of the main package of a module in Go, below Dir; "" is Dir itself.
	Main string
	// Platforms are those that the package is for, such as linux/amd64. None: this machine's for a module in Go, and for any other
	// those that its executables are made for.
	Platforms []string
	// Output is the file to write, which is replaced once the package is whole; "" is NAME-VERSION.tar.gz in the working directory.
	Output string
	// Progress, which may be nil, hears what is being done, and how much of the work is behind it.
	Progress func(what string, done, total int64)
}

// Report is what was made.
type Report struct {
	File    string
	Package *archive.Package
	// Notes are what is not wrong, but may not be meant.
	Notes []string
}

// packing is a package that is being made.
type packing struct {
	Options
	manifest *manifest.Manifest
	scratch  string
	sources  []archive.Source
	notes    []string
	// described are the services that there are descriptors of.
	described []string
	steps     int64 // that are done
}

// Pack makes the package of a module. Nothing is left of one that cannot be made.
func Pack(ctx context.Context, o Options) (*Report, error) {
	p := &packing{Options: o}
	if err := p.prepare(); err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "platformd-pack-*")
	if err != nil {
		return nil, fmt.Errorf("make a folder to build in: %w (fix: set TMPDIR to a folder with room)", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }() // a temporary folder
	p.scratch = scratch
	if err := p.gather(ctx); err != nil {
		return nil, err
	}
	pkg, err := p.write(ctx)
	if err != nil {
		return nil, err
	}
	return &Report{File: p.Output, Package: pkg, Notes: p.notes}, nil
}

func (p *packing) prepare() error {
	var err error
	if p.manifest, err = manifest.Load(filepath.Join(p.Dir, archive.ManifestFile)); err != nil {
		return err
	}
	if p.manifest.Migrations == manifest.MigrationsSQL {
		if err := sqlfiles.Check(p.Dir); err != nil {
			return err
		}
	}
	for _, platform := range p.Platforms {
		if !slices.Contains(archive.Platforms(), platform) {
			return fmt.Errorf("%q is no platform that modules run on (fix: use some of %s)", platform,
				strings.Join(archive.Platforms(), ", "))
		}
	}
	slices.Sort(p.Platforms)
	p.Platforms = slices.Compact(p.Platforms)
	if p.Output == "" {
		p.Output = p.manifest.Name + "-" + p.manifest.Version + ".tar.gz"
	}
	if p.Output, err = filepath.Abs(p.Output); err != nil {
		return fmt.Errorf("find the package's place: %w", err)
	}
	return nil
}

// gather finds everything that goes into the package.
func (p *packing) gather(ctx context.Context) error {
	inGo, err := p.inGo()
	if err != nil {
		return err
	}
	if !inGo {
		if err := p.takeExecutables(); err != nil {
			return err
		}
		return p.takeFolder()
	}
	if len(p.Platforms) == 0 {
		p.Platforms = []string{runtime.GOOS + "/" + runtime.GOARCH}
	}
	for _, platform := range p.Platforms {
		p.tell("building for " + platform)
		if err := p.build(ctx, platform); err != nil {
			return err
		}
	}
	return p.takeNamed()
}

// inGo reports whether the folder is one of a Go module, or of a package of a larger one.
func (p *packing) inGo() (bool, error) {
	entries, err := os.ReadDir(p.Dir)
	if err != nil {
		return false, fmt.Errorf("look at the module's folder: %w (fix: make it readable)", err)
	}
	return p.Main != "" || slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() == "go.mod" || strings.HasSuffix(e.Name(), ".go")
	}), nil
}

func (p *packing) tell(what string) {
	if p.Progress != nil {
		p.Progress(what, p.steps, int64(len(p.Platforms))+2)
	}
	p.steps++
}

// add takes a file of the module's folder. name is relative to it, with slashes.
func (p *packing) add(name string, executable bool) error {
	path := filepath.Join(p.Dir, filepath.FromSlash(name))
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("pack %s: %w (fix: put the file there, or correct %s)", name, err, archive.ManifestFile)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no ordinary file, and a package has no others (fix: put a copy in its place, or remove it)", path)
	}
	if info.Size() < maxSecret {
		if err := refuseSecret(path); err != nil {
			return err
		}
	}
	p.sources = append(p.sources, archive.Source{Name: name, Path: path, Executable: executable})
	return p.describes(name, path)
}

// write writes the package beside its place, and puts it there when a reader has found it good.
func (p *packing) write(ctx context.Context) (*archive.Package, error) {
	if info, err := os.Lstat(p.Output); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is there and is no regular file (fix: name another file)", p.Output)
	}
	temp, err := os.CreateTemp(filepath.Dir(p.Output), ".pack-*")
	if err != nil {
		return nil, fmt.Errorf("begin the package: %w (fix: choose a folder that is there, and that this user can write)", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }() // nothing is left of a finished one
	pkg, err := p.fill(ctx, temp)
	if err := errors.Join(err, temp.Close()); err != nil {
		return nil, err
	}
	if err := os.Rename(temp.Name(), p.Output); err != nil {
		return nil, fmt.Errorf("finish the package: %w", err)
	}
	if _, err := os.Lstat(p.Output + ".minisig"); err == nil {
		p.note("%s.minisig is there, and was made for another file: sign again", filepath.Base(p.Output))
	}
	return pkg, nil
}

func (p *packing) fill(ctx context.Context, file *os.File) (*archive.Package, error) {
	p.tell("packing")
	if err := archive.Write(ctx, file, p.sources); err != nil {
		return nil, err
	}
	p.tell("checking")
	if _, err := file.Seek(0, 0); err != nil {
		return nil, fmt.Errorf("read the package again: %w", err)
	}
	pkg, err := archive.Verify(ctx, file, archive.Options{})
	if err != nil {
		return nil, fmt.Errorf("the package would be refused: %w", err)
	}
	if err := errors.Join(file.Chmod(0o644), file.Sync()); err != nil { //nolint:gosec // a package is for everybody to read
		return nil, fmt.Errorf("finish the package: %w (fix: see that the disk has room)", err)
	}
	return pkg, nil
}

func (p *packing) note(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

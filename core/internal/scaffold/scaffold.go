// Package scaffold makes the folder of a new module in Go: one that builds, and whose tests pass.
//
// Floor 0. It must not run anything, nor overwrite what is there.
package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/platformd/platformd/plugin-api/manifest"
)

//go:embed template
var templates embed.FS

// Options say what module it is.
type Options struct {
	// Name is the module's, as in its manifest.
	Name string
	// Dir is its folder, which must be empty if it is there; "" is Name, below the working directory.
	Dir string
	// GoModule is the path of its Go module; "" is example.com/NAME.
	GoModule string
	// SDK is the folder of a checkout of platformd to build against; "" is the one that Dir is in, and otherwise the release of
	// the SDK that has the version of this platformd.
	SDK string
	// Version is that of this platformd.
	Version string
}

// Report is what was made.
type Report struct {
	Dir string
	// Files are in the folder, with slashes, sorted.
	Files []string
	// Commands are what is left to do, in their order.
	Commands []string
}

// New makes the module. Nothing is left of one that cannot be made.
func New(o Options) (*Report, error) {
	if o.Dir == "" {
		o.Dir = o.Name
	}
	if o.GoModule == "" {
		o.GoModule = "example.com/" + o.Name
	}
	files, err := render(o.Name)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("find the module's folder: %w", err)
	}
	builds, err := newGoFiles(o, dir)
	if err != nil {
		return nil, err
	}
	files = append(files, builds.files...)
	report := &Report{Dir: o.Dir, Commands: builds.commands(o.Dir, dir)}
	for _, f := range files {
		report.Files = append(report.Files, f.name)
	}
	return report, put(dir, files)
}

// file is one of the module's.
type file struct {
	name    string
	content []byte
}

// render fills the templates in, and judges the name as the manifest's reader does.
func render(name string) ([]file, error) {
	entries, err := fs.ReadDir(templates, "template")
	if err != nil {
		return nil, err
	}
	var files []file
	for _, entry := range entries {
		filled, err := template.ParseFS(templates, "template/"+entry.Name())
		if err != nil {
			return nil, err
		}
		var out bytes.Buffer
		if err := filled.Execute(&out, struct{ Name string }{name}); err != nil {
			return nil, err
		}
		files = append(files, file{target(entry.Name()), out.Bytes()})
	}
	return files, checkName(name, files)
}

// target is the name of what a template makes; Go leaves out of a program what begins with a dot.
func target(name string) string {
	name = strings.TrimSuffix(name, ".tmpl")
	if name == "gitignore" {
		return "." + name
	}
	return name
}

func checkName(name string, files []file) error {
	for _, f := range files {
		if f.name != "module.yaml" {
			continue
		}
		_, err := manifest.Parse(f.name, f.content)
		var errs manifest.Errors
		if errors.As(err, &errs) { // of which the first is about the name, as the rest follows from it
			return fmt.Errorf("%q cannot be a module's name: %s (fix: %s)", name, errs[0].Message, errs[0].Fix)
		}
	}
	return nil
}

// put writes the files into a folder that is empty, or not there yet.
func put(dir string, files []file) (err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("look at the module's folder: %w (fix: name another one with --dir)", err)
	case len(entries) > 0:
		return fmt.Errorf("%s is there and is not empty (fix: name another folder with --dir)", dir)
	}
	made := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a module's files are for everybody to read
		return fmt.Errorf("make the module's folder: %w (fix: name another one with --dir)", err)
	}
	defer func() {
		if err != nil && made {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	for _, f := range files {
		if err := writeNew(filepath.Join(dir, f.name), f.content); err != nil {
			return fmt.Errorf("write the module: %w (fix: name another folder with --dir)", err)
		}
	}
	return nil
}

// writeNew never overwrites a file.
func writeNew(path string, content []byte) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // as above
	if err != nil {
		return err
	}
	_, err = out.Write(content)
	return errors.Join(err, out.Close())
}

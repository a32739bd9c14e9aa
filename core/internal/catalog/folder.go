package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/platformd/platformd/plugin-api/manifest"
)

const manifestFile = "module.yaml"

// candidate is a folder that has a module.yaml.
type candidate struct {
	name string // as the manifest claims; the folder's own if it cannot be read
	dir  string // as it is shown
	real string // without symbolic links
	m    *manifest.Manifest
	err  error

	installed *Installed // nil for a folder among the modules
}

// look returns nil for what is no module's folder. root is the real path of the folder with the modules.
func look(root, dir string) *candidate {
	name := filepath.Base(dir)
	info, err := os.Stat(dir)
	if strings.HasPrefix(name, ".") || (err == nil && !info.IsDir()) {
		return nil
	}
	c := &candidate{name: name, dir: dir}
	file := filepath.Join(dir, manifestFile)
	if err == nil {
		_, err = os.Lstat(file)
	}
	if info != nil && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil { // a link that leads nowhere, or a folder that platformd may not read
		c.err = &Error{Code: "unreadable", Err: err, Message: fmt.Sprintf("read the module in %s: %v", dir, err),
			Fix: "remove it, or make it a folder that platformd may read"}
		return c
	}
	c.read(root, file)
	return c
}

func (c *candidate) read(root, file string) {
	if c.real, c.err = inside(root, c.dir); c.err != nil {
		return
	}
	if _, c.err = inside(root, file); c.err != nil {
		return
	}
	if c.m, c.err = manifest.Load(file); c.err == nil {
		c.name = c.m.Name
	}
}

// realPath returns the absolute path without symbolic links.
func realPath(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(absolute)
}

// inside returns the real path of path, which must be within root.
func inside(root, path string) (string, error) {
	target, err := realPath(path)
	if err != nil {
		return "", &Error{Code: "unreadable", Err: err, Message: fmt.Sprintf("follow %s: %v", path, err),
			Fix: "remove it, or put the file there that it should lead to"}
	}
	relative, err := filepath.Rel(root, target)
	if err != nil || !filepath.IsLocal(relative) {
		return "", &Error{Code: "outside",
			Message: fmt.Sprintf("%s is a symbolic link that leads out of %s, to %s", path, root, target),
			Fix:     "copy the file or folder in place of the link"}
	}
	return target, nil
}

// module checks everything but the dependencies. claimants are all the folders that claim the candidate's name.
func (c *candidate) module(claimants []string) (*Module, error) {
	if c.err != nil {
		return nil, c.err
	}
	if len(claimants) > 1 {
		return nil, contested(c.name, claimants)
	}
	if folder := filepath.Base(c.dir); c.installed == nil && folder != c.name {
		return nil, &Error{Code: "name_mismatch",
			Message: fmt.Sprintf("%s: the name is %q, but the folder is %q", filepath.Join(c.dir, manifestFile), c.name, folder),
			Fix:     fmt.Sprintf("rename the folder to %s, or the module to %s", c.name, folder)}
	}
	m := &Module{Manifest: c.m, Dir: c.dir}
	if c.installed != nil {
		m.Packaged = true
		m.withhold(c.installed.Pending)
	}
	executableErr := m.takeExecutable(c.real)
	configErr := m.takeConfigSchema(c.real)
	eventsErr := m.takeEventSchemas(c.real)
	migrationsErr := m.checkMigrations(c.real)
	reasons := []error{executableErr, configErr, eventsErr, migrationsErr}
	reasons = slices.DeleteFunc(reasons, func(err error) bool { return err == nil })
	if len(reasons) > 0 {
		return nil, joined(reasons)
	}
	return m, m.takeRevision()
}

// contested refuses all of them: to pick one would run code that the operator may believe to be replaced.
func contested(name string, claimants []string) *Error {
	return &Error{Code: "name_taken",
		Message: fmt.Sprintf("%d folders claim the name %s: %s", len(claimants), name, strings.Join(claimants, ", ")),
		Fix: "keep one of them, and move the others out of the modules folder or give them names of their own; " +
			"one that is installed is removed with platformd uninstall " + name}
}

package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"syscall"

	"github.com/caarlos0/env/v11"
	"gopkg.in/yaml.v3"
)

const (
	// MaxSize is the size in bytes that a config.yaml may have.
	MaxSize = 256 << 10
	// maxSecret is the size in bytes that the file of a _FILE variable may have.
	maxSecret = 64 << 10
)

// Options say where the configuration comes from.
type Options struct {
	// Path is the file; empty = none.
	Path string
	// Explicit means that the operator named Path: it must be there.
	Explicit bool
	// Env is the environment as "NAME=value"; nil = the process's own.
	Env []string
	// Flags, if not nil, sets what the command line says, over everything else.
	Flags func(*Config)
}

// Load returns the effective configuration: flag over environment over file over default. The error is an Errors with
// everything that is wrong with the file and the environment, or else with the values. It matches fs.ErrNotExist if an
// explicit file is missing.
func Load(o Options) (*Config, error) {
	if o.Env == nil {
		o.Env = os.Environ()
	}
	l := loader{config: Default(), env: env.ToMap(o.Env), origins: origins{}}
	l.file(o)
	l.environment()
	if len(l.errs) > 0 {
		return nil, l.errs
	}
	l.origins.applyFlags(&l.config, o.Flags)
	l.config.Server.PublicURL = strings.TrimRight(l.config.Server.PublicURL, "/")
	if err := check(&l.config, l.origins); err != nil {
		return nil, err
	}
	return &l.config, nil
}

// loader is the configuration while it is being read.
type loader struct {
	config  Config
	env     map[string]string
	origins origins
	errs    Errors
}

func (l *loader) file(o Options) {
	if o.Path == "" {
		return
	}
	data, mode, err := readRegular(o.Path, MaxSize)
	if errors.Is(err, fs.ErrNotExist) && !o.Explicit {
		return
	}
	if err != nil {
		l.errs = append(l.errs, &Error{Source: o.Path, Code: "unreadable", Message: "read config: " + err.Error(),
			Fix: "name a readable file with --config, or leave --config out for the defaults", cause: err})
		return
	}
	l.parse(o.Path, data, mode)
}

// parse applies the text of a file that has this name and mode.
func (l *loader) parse(name string, data []byte, mode fs.FileMode) {
	source := func(line int) string { return fmt.Sprintf("%s:%d", name, line) }
	root, bad := tree(data, source)
	if bad != nil {
		l.errs = append(l.errs, bad)
		return
	}
	if root == nil {
		return
	}
	d := decoder{source: source, env: l.env, origins: l.origins}
	d.inspect(root)
	if len(d.errs) == 0 { // else the tree is not what it seems
		d.decode("", root, reflect.ValueOf(&l.config).Elem())
	}
	if line := passwordLine(root, ""); line > 0 && mode.Perm()&0o044 != 0 {
		d.errs = append(d.errs, &Error{Source: source(line), Code: "secret_exposed",
			Message: fmt.Sprintf("there is a password here, and the file's mode %04o lets other users read it", mode.Perm()),
			Fix:     "chmod 600 " + name + ", or write ${NAME} and set the password in the environment"})
	}
	l.errs = append(l.errs, d.errs...)
}

// passwordLine returns the line of the first value that gives a password away, or 0. path is of the key above n, without the
// indexes of lists.
func passwordLine(n *yaml.Node, path string) int {
	if n.Kind == yaml.ScalarNode && givesAway(path, n.Value) {
		return n.Line
	}
	for i, child := range n.Content {
		below := path
		if n.Kind == yaml.MappingNode && i%2 == 1 {
			below = join(path, n.Content[i-1].Value)
		}
		if line := passwordLine(child, below); line > 0 {
			return line
		}
	}
	return 0
}

// readRegular reads a regular file of at most limit bytes. It never waits: a FIFO would block an ordinary open until
// somebody writes to it.
func readRegular(path string, limit int64) ([]byte, fs.FileMode, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errors.New("not a regular file: " + info.Mode().Type().String())
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("larger than %d KiB", limit>>10)
	}
	return data, info.Mode(), err
}

// Command permgen writes perm/perm.go from a module's module.yaml: a documented constant for each permission. It fails if the
// module's code checks a permission of its own that the manifest does not declare. Authors run it by go generate:
//
//	//go:generate go tool permgen
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/permgen"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "permgen: "+err.Error())
		os.Exit(1)
	}
}

func run(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("permgen", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("dir", ".", "the module's `folder`, with module.yaml and the sources")
	target := flags.String("o", "perm/perm.go", "the `file` to write, relative to the folder")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case flags.NArg() > 0:
		return fmt.Errorf("%q is not understood (fix: see permgen -h)", flags.Arg(0))
	}
	m, err := manifest.Load(filepath.Join(*dir, "module.yaml"))
	if err != nil {
		return err
	}
	source, err := permgen.Generate(m)
	if err != nil {
		return err
	}
	if err := permgen.Undeclared(*dir, m); err != nil {
		return err
	}
	return write(filepath.Join(*dir, *target), source)
}

// write leaves a file that is right already alone, so that nothing is built anew for it.
func write(path string, source []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, source) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, source, 0o644)
}

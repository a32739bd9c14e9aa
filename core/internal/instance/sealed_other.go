//go:build !linux

package instance

import (
	"io"
	"os"
)

// sealed returns nil: there is no such memory here, and the executable is executed by its path.
func sealed(string, io.Reader) (*os.File, error) { return nil, nil } //nolint:nilnil // nil says so

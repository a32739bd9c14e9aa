//go:build failpoints

package store

import (
	"os"
	"syscall"
)

// failpoint kills the process at the point that PLATFORMD_FAILPOINT names, for tests that build platformd with -tags
// failpoints.
var failpoint = func(name string) {
	if name == os.Getenv("PLATFORMD_FAILPOINT") {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal may take a moment
	}
}

//go:build failpoints

package daemon

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// purgePoint kills the process, as kill -9 does, where the environment says so: PLATFORMD_FAILPOINT=purge-database.
func purgePoint(step string) {
	if os.Getenv("PLATFORMD_FAILPOINT") == "purge-"+strings.ReplaceAll(step, " ", "-") {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	}
}

package instance

import (
	"os"
	"strconv"
	"strings"
)

// Traced tells whether a debugger holds the process (proc_pid_status(5), TracerPid): it may then stand still for as long as
// somebody looks at it.
func (i *Instance) Traced() bool {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(i.PID()) + "/status")
	if err != nil {
		return false
	}
	_, after, found := strings.Cut(string(status), "\nTracerPid:")
	tracer, _, _ := strings.Cut(after, "\n")
	return found && strings.TrimSpace(tracer) != "0"
}

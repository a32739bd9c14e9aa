package migrate

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/status"
)

// StepError says which step failed. The steps before it stay applied; the next start begins with this one.
type StepError struct {
	Module, ID string
	Err        error
}

// Error implements error.
func (e *StepError) Error() string {
	cause := e.Err.Error()
	if st, ok := status.FromError(e.Err); ok {
		cause = st.Message()
	}
	cause = strings.TrimPrefix(cause, "migration "+e.ID+": ") // the module says so too
	message := fmt.Sprintf("module %s: migration %s failed: %s", e.Module, e.ID, cause)
	if strings.Contains(cause, "fix: ") {
		return message
	}
	return message + " (fix: correct the migration, or the data it stumbles over, and start the module again)"
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

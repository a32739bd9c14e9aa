package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/db/ledger"
)

// StepError says which step failed. The steps before it stay as they are; the next run begins with this one.
type StepError struct {
	Module, ID string
	Down       bool
	Err        error
}

// Error implements error.
func (e *StepError) Error() string {
	cause := e.Err.Error()
	if st, ok := status.FromError(e.Err); ok {
		cause = st.Message()
	}
	cause = strings.TrimPrefix(cause, "migration "+e.ID+": ") // the module says so too
	what := "failed"
	if e.Down {
		what = "could not be undone"
	}
	message := fmt.Sprintf("module %s: migration %s %s: %s", e.Module, e.ID, what, cause)
	if strings.Contains(cause, "fix: ") {
		return message
	}
	return message + " (fix: correct the migration, or the data it stumbles over, and start the module again)"
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// LockedError says that somebody else has been migrating the module for longer than one waits.
type LockedError struct {
	Module string
	Holder string    // host, process and data directory
	Since  time.Time // UTC
}

// Error implements error.
func (e *LockedError) Error() string {
	return fmt.Sprintf("module %s is being migrated by %s since %s (fix: wait for it, or end that process)",
		e.Module, e.Holder, e.Since.Format(time.RFC3339))
}

// CountError says that fewer steps have been applied than are to be undone.
type CountError struct {
	Module         string
	Asked, Applied int
}

// Error implements error.
func (e *CountError) Error() string {
	return fmt.Sprintf("module %s: %d migrations are to be undone, and %d have been applied (fix: see `platformd migrate status`)",
		e.Module, e.Asked, e.Applied)
}

// explain adds to a drift where it is, as the ledger keeps what ran.
func (g *Migrator) explain(ctx context.Context, m Module, err error) error {
	var drift *ledger.DriftError
	if !errors.As(err, &drift) || m.Statements == nil {
		return err
	}
	ran, readErr := g.storage.Statements(ctx, m.Name, drift.ID)
	if readErr != nil {
		return err
	}
	drift.Difference = difference(ran, m.Statements(drift.ID))
	return err
}

// shown is how much of a statement a message quotes, in characters.
const shown = 120

// difference names the first statement that is not what ran.
func difference(ran, declared []string) string {
	for i := range max(len(ran), len(declared)) {
		was, is := "nothing", "nothing"
		if i < len(ran) {
			was = excerpt(ran[i])
		}
		if i < len(declared) {
			is = excerpt(declared[i])
		}
		if was != is {
			return fmt.Sprintf("statement %d was %s, is %s", i+1, was, is)
		}
	}
	return "its comments or spaces differ"
}

func excerpt(statement string) string {
	text := []rune(strings.Join(strings.Fields(statement), " "))
	if len(text) > shown {
		text = append(text[:shown], '…')
	}
	return fmt.Sprintf("%q", string(text))
}

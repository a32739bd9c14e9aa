package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/problem"
)

// order hands an operator's order on, and says what came of it in words for the operator.
func (d *daemon) order(ctx context.Context, module string, order admin.Order) error {
	carryOut := map[admin.Order]func(context.Context, string) error{
		admin.OrderStart: d.supervisor.Start, admin.OrderStop: d.supervisor.Stop, admin.OrderRestart: d.supervisor.Restart,
	}[order]
	err := carryOut(ctx, module)
	var state *supervisor.StateError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, supervisor.ErrUnknownModule):
		return refused("module %s is not run: %s\nfix: platformd module show %[1]s", module, "it was refused, is held or is disabled")
	case errors.As(err, &state):
		return refused("%s\nfix: platformd module show %s", state.Error(), module)
	case errors.Is(err, context.Canceled):
		return err // who asked is gone
	}
	what, fix := admin.SplitFix(err.Error())
	if fix == "" {
		fix = "platformd module crashes " + module
	}
	return problem.New(http.StatusBadGateway, "module_failed",
		fmt.Sprintf("module %s did not become ready: %s\nfix: %s", module, what, fix))
}

func refused(format string, args ...any) error {
	return problem.New(http.StatusConflict, "failed_precondition", fmt.Sprintf(format, args...))
}

func (d *daemon) crashes(module string) []admin.Crash {
	kept, err := d.supervisor.Crashes(module)
	if err != nil {
		return nil // it never ran
	}
	crashes := make([]admin.Crash, len(kept))
	for i, c := range kept {
		crashes[i] = admin.Crash(c)
	}
	return crashes
}

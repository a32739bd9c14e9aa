package cli

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
)

// moduleOrder is a command that has the daemon do something with one module.
func (a *app) moduleOrder(order admin.Order, short string) *cobra.Command {
	cmd := &cobra.Command{
		Use:               string(order) + " NAME",
		Short:             short,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeModule,
	}
	done := map[admin.Order]string{
		admin.OrderStart: "is ready", admin.OrderStop: "has been stopped", admin.OrderRestart: "has been restarted",
		admin.OrderEnable: "is enabled", admin.OrderDisable: "is disabled",
	}[order]
	return a.action(cmd, a.converse(func(c *conversation) error {
		changes, err := c.Order(c.cmd.Context(), c.args[0], order)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.err, "%s %s\n", clean(c.args[0]), done)
		for _, change := range changes {
			fmt.Fprintln(a.err, clean(sentence(change)))
		}
		return nil
	}))
}

// sentence says what became of one module.
func sentence(change admin.ModuleChange) string {
	what := map[string]string{
		"start": "started " + change.Module, "stop": "stopped " + change.Module, "upgrade": "upgraded " + change.Module,
	}[change.Act]
	switch {
	case change.Problem != "":
		return fmt.Sprintf("%s is as before: %s", change.Module, change.Problem)
	case change.Act == "upgrade":
		return fmt.Sprintf("%s: %s → %s", what, change.From, change.To)
	}
	return what
}

// reload is not a command of module: it is about all that there are, and may come to be.
func (a *app) reload() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Take over what has changed in the modules' folder",
		Long: "Takes over what has changed in the modules' folder since the platform has read it: new modules are started,\n" +
			"those whose module.yaml, binary, schemas or SQL files are others are upgraded without a failed request, and those\n" +
			"whose folders are gone are stopped. What would end a module that works is not taken over. config.yaml is\n" +
			"read at the start alone.",
	}
	return a.asking(cmd, func(c *conversation) error {
		changes, err := c.Reload(c.cmd.Context())
		if err != nil {
			return err
		}
		if a.format == formatJSON {
			err = a.out.json(changes)
		} else {
			err = a.listChanges(changes)
		}
		return errors.Join(err, notTaken(changes))
	})
}

func (a *app) listChanges(changes []admin.ModuleChange) error {
	if len(changes) == 0 {
		fmt.Fprintln(a.err, "nothing has changed")
		return nil
	}
	rows := [][]string{{"MODULE", "CHANGE", "FROM", "TO", "RESULT"}}
	for _, change := range changes {
		rows = append(rows, []string{
			change.Module, cmp.Or(change.Act, "none"), cmp.Or(change.From, "-"), cmp.Or(change.To, "-"),
			cmp.Or(brief(change.Problem), "done"),
		})
	}
	return a.out.table(rows)
}

// notTaken names the first module that is not what it was to become; nil if there is none.
func notTaken(changes []admin.ModuleChange) error {
	for _, change := range changes {
		if change.Problem != "" {
			return withFix(errors.New(sentence(change)), cmp.Or(change.Fix, "platformd module show "+change.Module))
		}
	}
	return nil
}

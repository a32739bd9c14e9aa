package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/logs"
)

func (a *app) logs() *cobra.Command {
	var follow bool
	var lines uint
	var from since
	level := "trace"
	cmd := &cobra.Command{
		Use:   "logs [NAME]",
		Short: "Show what the platform and its modules log",
		Long: "Shows what the platform and its modules log: the newest records of all, or those of one module (or of \"core\").\n" +
			"With -o json, one JSON value a line.",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeModule,
	}
	flags := cmd.Flags()
	flags.BoolVarP(&follow, "follow", "f", false, "go on with what is logged from now on")
	flags.Var(&from, "since", "leave out what is older: 10m, 2d, 2026-01-31T09:00:00Z")
	flags.UintVar(&lines, "lines", 100, "the newest `n` records; 0 = all that are kept")
	least := &choice{value: &level, of: []string{"trace", "debug", "info", "warn", "error"}}
	flags.Var(least, "level", "the least severe level")
	least.complete(cmd, "level")
	return a.asking(cmd, func(c *conversation) error {
		query := admin.LogQuery{Level: level, Since: from.time, Lines: int(lines), Follow: follow}
		if len(c.args) > 0 {
			query.Module = c.args[0]
		}
		err := c.Logs(c.cmd.Context(), query, a.printRecord)
		if c.cmd.Context().Err() != nil {
			return nil // Ctrl-C is how following ends
		}
		return err
	})
}

func (a *app) printRecord(e logs.Entry) error {
	if a.format == formatTable {
		_, err := fmt.Fprintln(a.out, e.String())
		return err
	}
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode a record: %w", err)
	}
	_, err = fmt.Fprintln(a.out, cleanJSON(string(line)))
	return err
}

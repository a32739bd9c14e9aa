package daemon

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/mattn/go-isatty"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/logs"
	"github.com/platformd/platformd/core/internal/supervisor"
)

// banner says how the start went: as a page on a terminal, as log records elsewhere.
func (d *daemon) banner(ctx context.Context) error {
	info, modules := d.info(), d.modules() //nolint:contextcheck // the database is asked for all, with a deadline of its own
	setup, err := d.setupURL(ctx)
	if err != nil {
		d.log.Error("no link to set the platform up could be made", "error", err, "fix", "platformd setup-link")
	}
	out, isFile := d.options.Out.(interface{ Fd() uintptr })
	if isFile && isatty.IsTerminal(out.Fd()) {
		return printBanner(d.options.Out, info, setup, modules)
	}
	ready := 0
	for _, mod := range modules {
		if mod.State == string(supervisor.Ready) {
			ready++
			continue
		}
		d.log.Error("module is not ready", "module", mod.Name, "state", mod.State, "reason", mod.Reason, "fix", mod.Fix)
	}
	d.log.Info("platformd is up", "url", info.URL, "version", info.Version, "pid", info.PID, "ready", info.Ready,
		"modules_ready", ready, "modules", len(modules), "config", cmp.Or(info.ConfigFile, "defaults"), "data_dir", info.DataDir,
		"database", info.Database, "isolation", info.Isolation.String())
	if setup != "" {
		d.logs.Console.Warn("nobody can sign in yet: make the first administrator", "open", setup, "within", "1h",
			"again", "platformd setup-link")
	}
	return nil
}

func printBanner(w io.Writer, info admin.Info, setup string, modules []admin.Module) error {
	_, err := fmt.Fprintf(w, "\nplatformd %s is up: %s\n\n  pid       %d\n  config    %s\n  data      %s\n"+
		"  backends  database: %s, events: %s, cache: %s\n  isolation %s\n\n",
		info.Version, info.URL, info.PID, cmp.Or(info.ConfigFile, "defaults (no config.yaml)"), info.DataDir,
		info.Database, info.Events, info.Cache, info.Isolation)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  MODULE\tVERSION\tSTATE\tPID\tROUTES\tPERMISSIONS\tSTARTED IN")
	for _, mod := range modules {
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%d\t%d\t%d ms\n", logs.Neutral(mod.Name), logs.Neutral(mod.Version), mod.State,
			pids(mod), len(mod.Routes), len(mod.Permissions), mod.StartMillis)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, mod := range modules {
		if mod.State == string(supervisor.Ready) {
			continue
		}
		if _, err := fmt.Fprintf(w, "\n  %s is %s: %s\n    fix: %s\n", logs.Neutral(mod.Name), mod.State, logs.Neutral(mod.Reason),
			cmp.Or(logs.Neutral(mod.Fix), "see `platformd logs "+logs.Neutral(mod.Name)+"`")); err != nil {
			return err
		}
	}
	if setup != "" {
		_, err = fmt.Fprintf(w, "\n  Nobody can sign in yet. Make the first administrator, within an hour:\n\n    %s\n\n"+
			"  Later, `platformd setup-link` makes another link.\n", setup)
		if err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(w)
	return err
}

func pids(mod admin.Module) string {
	if len(mod.Instances) == 0 {
		return "-"
	}
	return fmt.Sprint(mod.Instances[0].PID)
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fatih/color"
	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
)

func (a *app) migrate() *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "migrate",
		Short: "Show, plan, apply and undo the modules' migrations",
		Long: "Migrations are applied when a module starts; these commands are for looking, for deploying in two steps, and for\n" +
			"going back. They ask the running platform, or do the work themselves if none runs on the data directory.",
	}, a.migrateStatus(), a.migratePlan(), a.migrateUp(), a.migrateDown(), a.migrateRedo(), a.migrateCreate())
}

// migrating runs work with the running platform's migrations, or with those of one that does not run.
func (a *app) migrating(cmd *cobra.Command, work func(context.Context, admin.Migrations) error) error {
	return a.anyhow(cmd, func(ctx context.Context, at admin.Offline) error { return work(ctx, at.Migrations) })
}

// anyhow runs work with the running platform, or with one that does not run.
func (a *app) anyhow(cmd *cobra.Command, work func(context.Context, admin.Offline) error) error {
	dir, err := a.daemonDir(cmd)
	if err != nil {
		return err
	}
	client := admin.Dial(admin.SocketPath(dir))
	_, err = client.Info(cmd.Context())
	switch {
	case err == nil:
		at := admin.Offline{Migrations: client.Migrations(), Packages: client.Packages(), Data: client.Data()}
		return explain(work(cmd.Context(), at), cmd, dir)
	case !errors.Is(err, admin.ErrNotRunning):
		return explain(err, cmd, dir)
	}
	settings, err := a.settings(cmd, nil)
	if err != nil {
		return err
	}
	return a.deps.Offline(cmd.Context(), StartOptions{
		Config: settings, ConfigFile: a.configFile(), Out: a.deps.Err, Version: a.build().Version,
	}, work)
}

// moduleFlag is the flag that names the module.
func (a *app) moduleFlag(cmd *cobra.Command, module *string, required bool) {
	cmd.Flags().StringVar(module, "module", "", "`name` of the module")
	if required {
		_ = cmd.MarkFlagRequired("module") // it fails only if there is no such flag
	}
	_ = cmd.RegisterFlagCompletionFunc("module", a.completeModule)
}

func (a *app) migrateStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "List the migrations of all modules, or of one, and how they stand", Args: cobra.NoArgs,
	}
	var module string
	a.moduleFlag(cmd, &module, false)
	return a.printer(cmd, func(cmd *cobra.Command, _ []string) error {
		return a.migrating(cmd, func(ctx context.Context, m admin.Migrations) error {
			all, err := m.Status(ctx, module)
			switch {
			case err != nil:
				return err
			case a.format == formatJSON:
				return a.out.json(append([]admin.ModuleMigrations{}, all...))
			}
			return a.showMigrations(all)
		})
	})
}

func (a *app) showMigrations(all []admin.ModuleMigrations) error {
	rows := [][]string{{"MODULE", "MIGRATION", "STATE", "APPLIED", "TOOK", "CHECKSUM"}}
	for _, m := range all {
		for _, step := range m.Steps {
			at, took := "-", "-"
			if step.AppliedAt != nil {
				at, took = stamp(*step.AppliedAt), (time.Duration(step.Millis) * time.Millisecond).String()
			}
			rows = append(rows, []string{m.Module, step.ID, step.State, at, took, orDash(step.Checksum, 12)})
		}
	}
	if err := a.out.table(rows); err != nil {
		return err
	}
	for _, m := range all {
		if m.Problem != "" {
			fmt.Fprintf(a.out, "\n%s\n  fix: %s\n", cleanLines(m.Problem), clean(m.Fix))
		}
	}
	return nil
}

// orDash shows the beginning of a text.
func orDash(text string, most int) string {
	if text == "" {
		return "-"
	}
	return text[:min(len(text), most)]
}

func (a *app) migratePlan() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Print the SQL that is pending, and run nothing",
		Long: "Prints the SQL of the migrations that are pending, and runs nothing. SQL files are printed as they are; Go\n" +
			"functions are run in a transaction that may not write, and what depends on their own writes cannot be foreseen:\n" +
			"a comment says where.",
		Args: cobra.NoArgs,
	}
	var module string
	a.moduleFlag(cmd, &module, false)
	return a.printer(cmd, func(cmd *cobra.Command, _ []string) error {
		return a.migrating(cmd, func(ctx context.Context, m admin.Migrations) error {
			plans, err := m.Plan(ctx, module)
			switch {
			case err != nil:
				return err
			case a.format == formatJSON:
				err = a.out.json(append([]admin.ModulePlan{}, plans...))
			default:
				err = a.showPlans(plans)
			}
			return errors.Join(err, unplanned(plans))
		})
	})
}

// showPlans prints SQL, in which what is not SQL is a comment.
func (a *app) showPlans(plans []admin.ModulePlan) error {
	for _, plan := range plans {
		if len(plan.Steps) == 0 && plan.Problem == "" {
			fmt.Fprintf(a.err, "nothing is pending of %s\n", clean(plan.Module))
		}
		for _, step := range plan.Steps {
			fmt.Fprintf(a.out, "%s\n", a.out.paint(color.FgCyan, "-- "+clean(plan.Module+" "+step.ID)))
			for _, statement := range step.Statements {
				if _, err := fmt.Fprintf(a.out, "%s%s\n", cleanLines(statement), ending(statement)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// ending is what a statement needs at its end: nothing, if it is only a comment.
func ending(statement string) string {
	for line := range strings.Lines(statement) {
		if !strings.HasPrefix(line, "--") {
			return ";"
		}
	}
	return ""
}

// unplanned says which modules have no plan.
func unplanned(plans []admin.ModulePlan) error {
	var all []error
	for _, plan := range plans {
		if plan.Problem != "" {
			all = append(all, withFix(errors.New(plan.Problem), plan.Fix))
		}
	}
	if len(all) < 2 {
		return errors.Join(all...)
	}
	return withFix(errors.Join(all...), "see `platformd migrate status`")
}

func (a *app) migrateUp() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Apply what is pending of a module",
		Long: "Applies what is pending of a module, as its start would. A module that did not start because of its migrations is\n" +
			"started afterwards.",
		Args: cobra.NoArgs,
	}
	var module string
	a.moduleFlag(cmd, &module, true)
	return a.action(cmd, func(cmd *cobra.Command, _ []string) error {
		return a.migrating(cmd, func(ctx context.Context, m admin.Migrations) error {
			return a.order(ctx, m, module, admin.MigrationOrder{Direction: admin.MigrateUp})
		})
	})
}

func (a *app) migrateDown() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Undo the last migrations of a module, which is stopped for it",
		Long: "Undoes the last migrations of a module, the newest first. What they hold is lost. The module is stopped before,\n" +
			"and stays stopped: its start would apply them again. Install the older version, then start it.",
		Args: cobra.NoArgs,
	}
	var module string
	var yes bool
	steps := 1
	a.moduleFlag(cmd, &module, true)
	cmd.Flags().IntVar(&steps, "steps", 1, "`number` of migrations to undo")
	yesFlag(cmd, &yes)
	return a.action(cmd, func(cmd *cobra.Command, _ []string) error {
		if steps < 1 {
			return &failure{err: fmt.Errorf("--steps %d: there is nothing to undo", steps), code: ExitUsage, fix: "write a number above 0"}
		}
		question := fmt.Sprintf("Undo the last %s of %s, and lose what they hold?", count(steps, "migration"), clean(module))
		if err := a.confirm(cmd, question, yes); err != nil {
			return err
		}
		return a.migrating(cmd, func(ctx context.Context, m admin.Migrations) error {
			err := a.order(ctx, m, module, admin.MigrationOrder{Direction: admin.MigrateDown, Steps: steps})
			if err == nil {
				fmt.Fprintf(a.err, "the next start of %s applies what is pending: install the version that is to run first\n", clean(module))
			}
			return err
		})
	})
}

func (a *app) migrateRedo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "redo",
		Short: "Undo the last migration of a module and apply it again",
		Long:  "Undoes the last migration of a module and applies it again: for who is writing it. What it holds is lost.",
		Args:  cobra.NoArgs,
	}
	var module string
	var yes bool
	a.moduleFlag(cmd, &module, true)
	yesFlag(cmd, &yes)
	return a.action(cmd, func(cmd *cobra.Command, _ []string) error {
		question := fmt.Sprintf("Undo the last migration of %s, and lose what it holds?", clean(module))
		if err := a.confirm(cmd, question, yes); err != nil {
			return err
		}
		return a.migrating(cmd, func(ctx context.Context, m admin.Migrations) error {
			return a.order(ctx, m, module, admin.MigrationOrder{Direction: admin.MigrateRedo})
		})
	})
}

// order carries out an order, and tells on standard error how it goes.
func (a *app) order(ctx context.Context, m admin.Migrations, module string, order admin.MigrationOrder) error {
	begun, done := 0, 0
	err := m.Run(ctx, module, order, func(e admin.MigrationEvent) {
		verb := "applying"
		if e.Down {
			verb = "undoing"
		}
		line := fmt.Sprintf("[%d/%d] %s %s", e.Number, e.Of, verb, clean(e.ID))
		if !e.Done {
			begun++
			a.show(line, false)
			return
		}
		done++
		a.show(fmt.Sprintf("%s: %s", line, time.Duration(e.Millis)*time.Millisecond), true)
	})
	switch {
	case begun > done && a.err.colours:
		fmt.Fprintln(a.err) // the line of the step that did not end
	case err == nil && done == 0:
		fmt.Fprintf(a.err, "nothing is pending of %s\n", clean(module))
	}
	return err
}

// show prints a line of progress; on a terminal what comes next takes the place of one that is not final.
func (a *app) show(line string, final bool) {
	switch {
	case a.err.colours:
		end := ""
		if final {
			end = "\n"
		}
		fmt.Fprintf(a.err, "\r\x1b[K%s%s", line, end)
	case final:
		fmt.Fprintln(a.err, line)
	}
}

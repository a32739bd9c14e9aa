package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
)

func (a *app) uninstall() *cobra.Command {
	var yes, purge, noExport bool
	var export string
	cmd := &cobra.Command{
		Use:   "uninstall NAME",
		Short: "Uninstall a module, and keep its data unless told not to",
		Long: "Stops a module and removes its packages. It is refused while other modules require it, which are named.\n\n" +
			"Its data is kept: `platformd module data` lists it, `platformd module purge` removes it, and a later installation\n" +
			"finds it again. With --purge-data it is removed at once, after a copy has been written.",
		Example: "  platformd uninstall guestbook\n" +
			"  platformd uninstall guestbook --purge-data --export guestbook.tar.gz",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completePackage,
	}
	yesFlag(cmd, &yes)
	cmd.Flags().BoolVar(&purge, "purge-data", false, "remove its data, too, when a copy of it is written")
	cmd.Flags().StringVar(&export, "export", "", "`file` for the copy, a new one (default: NAME-data-DATE-TIME.tar.gz)")
	cmd.Flags().BoolVar(&noExport, "no-export", false, "write no copy")
	cmd.MarkFlagsMutuallyExclusive("export", "no-export")
	return a.packager(cmd, func(cmd *cobra.Command, args []string) error {
		if !purge && (export != "" || noExport) {
			return unasked("--export and --no-export are about --purge-data", "add --purge-data, or leave them out")
		}
		change, err := uninstalling(args[0], purge, export)
		if err != nil {
			return err
		}
		if noExport {
			change.Export = ""
		}
		return a.change(cmd, change, yes)
	})
}

// uninstalling names the copy of the data so that the platform, which works in another folder, finds its place.
func uninstalling(module string, purge bool, export string) (admin.PackageChange, error) {
	change := admin.PackageChange{Act: admin.ActUninstall, Module: module, Purge: purge}
	if !purge {
		return change, nil
	}
	if export == "" {
		export = module + "-data-" + time.Now().Format("20060102-150405") + ".tar.gz"
	}
	path, err := filepath.Abs(export)
	if err != nil {
		return change, fmt.Errorf("find the place for the copy: %w (fix: name it by an absolute path)", err)
	}
	change.Export = path
	return change, nil
}

func (a *app) rollback() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "rollback NAME",
		Short: "Return a module to the version that was installed before, without a failed request",
		Long: "Returns a module to the version that was installed before the last upgrade. Migrations are not undone: if the\n" +
			"newer version has applied some, undo them first (platformd migrate down).",
		Example:           "  platformd rollback guestbook",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completePackage,
	}
	yesFlag(cmd, &yes)
	return a.packager(cmd, func(cmd *cobra.Command, args []string) error {
		return a.change(cmd, admin.PackageChange{Act: admin.ActRollback, Module: args[0]}, yes)
	})
}

// change shows what a change of what is installed would do, asks, and does it.
func (a *app) change(cmd *cobra.Command, change admin.PackageChange, yes bool) error {
	if err := mustBeAsked(cmd, yes); err != nil {
		return err
	}
	return a.anyhow(cmd, func(ctx context.Context, at admin.Offline) error {
		plan, err := at.Packages.Plan(ctx, change)
		if err != nil {
			return err
		}
		p := &proposal{change, plan}
		if err := a.propose(p, yes); err != nil {
			return err
		}
		if err := a.showHoldings(ctx, at, p); err != nil {
			return err
		}
		if err := a.agreeTo(cmd, p, yes); err != nil {
			return err
		}
		return a.apply(ctx, at.Packages, p)
	})
}

// showHoldings lists what is removed with a module's data.
func (a *app) showHoldings(ctx context.Context, at admin.Offline, p *proposal) error {
	if !p.Purge {
		return nil
	}
	all, err := at.Data.Holdings(ctx, p.Module)
	if err != nil {
		return err
	}
	to := a.out
	if a.format == formatJSON {
		to = a.err
	}
	return a.listHoldings(to, all)
}

// agreeTo asks for the module's name, too, where data is lost.
func (a *app) agreeTo(cmd *cobra.Command, p *proposal, yes bool) error {
	if yes {
		return nil
	}
	question := fmt.Sprintf("Uninstall %s?", p.plan.Module)
	if p.Act == admin.ActRollback {
		question = fmt.Sprintf("Roll %s back to %s?", p.plan.Module, p.plan.To)
	}
	if err := a.agree(cmd, clean(question)); err != nil || !p.Purge {
		return err
	}
	name, err := a.answer(cmd, "Its data is removed for good. To go on, type its name: ")
	if err == nil && name != p.Module {
		err = withFix(errors.New("that is not its name; nothing was done"), "run the command again, and type "+p.Module)
	}
	return err
}

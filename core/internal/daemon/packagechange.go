package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/store"
	"github.com/platformd/platformd/plugin-api/db/ledger"
)

// applyPackage makes a change, or leaves everything as it was.
func (d *daemon) applyPackage(ctx context.Context, c admin.PackageChange) (*admin.PackageOutcome, error) {
	outcome, err := inTurn(ctx, d.live, func(ctx context.Context) (*admin.PackageOutcome, error) { return d.applyAlone(ctx, c) })
	return outcome, packageProblem(err)
}

func (d *daemon) applyAlone(ctx context.Context, c admin.PackageChange) (*admin.PackageOutcome, error) {
	p, err := d.propose(ctx, c)
	if err != nil {
		return nil, err
	}
	if p.refused != nil {
		return nil, p.refused
	}
	applied, err := d.appliedMigrations(ctx, p.Module)
	if err != nil {
		return nil, err
	}
	tx, err := d.packages.Begin(ctx, p.change)
	if err != nil {
		return nil, err
	}
	if p.staged != nil {
		_ = d.packages.discard(p.staged.id) // the store has it now: nothing is left to remove
	}
	done, err := d.carryOver(ctx, p, tx)
	if err != nil {
		return nil, err
	}
	if p.to == nil { // whoever installs it again wants it to run
		if err := d.live.wishes.set(p.Module, false); err != nil {
			d.log.Warn("a module that is uninstalled stays disabled, if it was", "module", p.Module, "error", err)
		}
	}
	if err := d.purgeWith(ctx, p, tx); err != nil {
		return nil, err
	}
	outcome := &admin.PackageOutcome{Module: p.Module, Exported: p.Export, Effect: effect(p.before, d.installed().Get(p.Module))}
	outcome.Effect.Modules = append(outcome.Effect.Modules, done...)
	if p.from != nil {
		outcome.From = p.from.Version
	}
	if p.to != nil {
		outcome.To, outcome.Pending = p.to.Version, p.to.Pending
	}
	now, err := d.appliedMigrations(ctx, p.Module)
	outcome.Effect.Migrations = append(outcome.Effect.Migrations, missing(applied, now)...)
	return outcome, err
}

// carryOver has the platform consist of what is to be, and writes that down. If either fails it is as before.
func (d *daemon) carryOver(ctx context.Context, p *proposal, tx *store.Tx) ([]admin.ModuleChange, error) {
	done, err := d.bringIn(ctx, p, tx)
	if err == nil {
		err = d.exportWith(ctx, p)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err == nil {
		return done, nil
	}
	if abort := tx.Abort(); abort != nil {
		err = errors.Join(err, fmt.Errorf("undo it: %w", abort))
	}
	return nil, errors.Join(err, d.comeBack(ctx, p))
}

// bringIn takes what is to be into the running platform.
func (d *daemon) bringIn(ctx context.Context, p *proposal, tx *store.Tx) ([]admin.ModuleChange, error) {
	found, err := d.scan(d.chosenWith(ctx, p, nil))
	if err != nil {
		return nil, err
	}
	if d.supervisor == nil {
		d.believe(found, p.Module)
		return nil, nil
	}
	d.live.pointing(func(module string) error {
		if module != p.Module {
			return nil
		}
		return tx.Point()
	})
	defer d.live.pointing(nil)
	changed, err := d.takeFound(ctx, found, func(now, found *catalog.Catalog) *catalog.Catalog { return now.Take(found, p.Module) })
	if changed == nil {
		return nil, err
	}
	if err != nil {
		d.log.Warn("a change of a package", "module", p.Module, "error", err)
	}
	if err := changed.errs[p.Module]; err != nil {
		return changed.done, d.notTaken(p.Module, err)
	}
	return changed.done, nil
}

// comeBack has the platform consist of what platformd.lock says: after a version that failed where none ran before, or that could
// not be written down.
func (d *daemon) comeBack(ctx context.Context, p *proposal) error {
	if d.supervisor == nil {
		found, err := d.scan(d.chosen(ctx))
		if err == nil {
			d.believe(found, p.Module)
		}
		return err
	}
	changed, err := d.take(ctx, func(now, found *catalog.Catalog) *catalog.Catalog { return now.Take(found, p.Module) })
	if changed != nil && changed.errs[p.Module] != nil && p.from != nil {
		err = errors.Join(err, fmt.Errorf("go back to %s %s: %w", p.Module, p.from.Version, changed.errs[p.Module]))
	}
	return err
}

// believe takes over what has been found of a module where nothing runs.
func (d *daemon) believe(found *catalog.Catalog, module string) {
	d.survey(found)
	d.catalog.Store(d.installed().Take(found, module))
}

// exportWith keeps a copy of the data that is about to be removed.
func (d *daemon) exportWith(ctx context.Context, p *proposal) (err error) {
	if !p.Purge {
		return nil
	}
	if err := d.openForData(ctx); err != nil || p.Export == "" {
		return err
	}
	file, err := os.OpenFile(p.Export, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make the copy of the data: %w (fix: name another file with --export)", err)
	}
	err = errors.Join(d.export(ctx, p.Module, file), file.Sync(), file.Close())
	if err != nil {
		return errors.Join(err, os.Remove(p.Export))
	}
	return nil
}

// purgeWith removes the data of the module that has been uninstalled. From here the next daemon carries it on.
func (d *daemon) purgeWith(ctx context.Context, p *proposal, tx *store.Tx) error {
	if !p.Purge {
		return nil
	}
	err := d.purge(ctx, p.Module, nil)
	if d.live.wishes.isPurging(p.Module) || err == nil {
		err = errors.Join(err, tx.Purged())
	}
	return asDataProblem(err)
}

// appliedMigrations is what the database knows, in the order of the ids.
func (d *daemon) appliedMigrations(ctx context.Context, module string) ([]string, error) {
	rows, err := d.storage.Ledger(ctx, module)
	return ledger.IDs(rows), err
}

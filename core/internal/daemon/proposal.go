package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/contracts"
	"github.com/platformd/platformd/core/internal/store"
	"github.com/platformd/platformd/plugin-api/problem"
)

// proposal is a change of one module's packages that has been thought through, and not been made.
type proposal struct {
	admin.PackageChange
	from   *store.Entry // nil: it is not installed
	to     *store.Entry // nil: it is to be uninstalled
	staged *staged      // nil: it is in the store already
	change store.Change

	wanted *catalog.Catalog
	steps  *catalog.Change
	before *catalog.Module // what runs, or could; nil: nothing
	after  *catalog.Module
	// refused says why the change is not made.
	refused error
}

// propose thinks a change through. The error says that there is nothing to think about.
func (d *daemon) propose(ctx context.Context, c admin.PackageChange) (p *proposal, err error) {
	p = &proposal{PackageChange: c}
	if c.Act == admin.ActInstall {
		if p.staged, err = d.packages.get(c.Staged); err != nil {
			return nil, err
		}
		p.Module = p.staged.Package().Manifest.Name
	}
	if e, found := d.packages.Entries()[p.Module]; found {
		p.from = &e
	}
	if err := d.target(p); err != nil {
		return nil, err
	}
	p.change = store.Change{Module: p.Module, To: p.to, Purge: p.Purge}
	if p.staged != nil {
		p.change.Staged, p.change.AllowOlder = p.staged.Staged, p.staged.options.AllowOlder
	}
	if p.Purge && p.Act != admin.ActUninstall || p.Export != "" && !p.Purge {
		return nil, problem.Invalid("data is copied and removed when a module is uninstalled (fix: leave purge and export out)")
	}
	if p.refused = d.packages.Check(ctx, p.change); p.refused == nil {
		p.refused = d.folderInTheWay(p)
	}
	return p, d.judgeCatalog(ctx, p)
}

// target finds out what is to be installed in the end.
func (d *daemon) target(p *proposal) error {
	switch {
	case p.Act == admin.ActInstall:
		to := p.staged.entry()
		to.Grants, to.Pending = p.granted()
		p.to = &to
		return nil
	case p.from == nil:
		return d.notInstalled(p.Module)
	case p.Act == admin.ActUninstall:
		return nil
	case p.Act != admin.ActRollback:
		return problem.Invalid("%q is nothing that can be done with packages (fix: install, uninstall or rollback)", p.Act)
	case p.from.Previous == nil:
		return refused("module %s has no version before %s here\nfix: install the package of the version that is wanted",
			p.Module, p.from.Version)
	}
	to := *p.from.Previous
	p.to = &to
	return nil
}

func (d *daemon) notInstalled(module string) error {
	if mod := d.installed().Get(module); mod != nil && !mod.Packaged {
		return refused("module %s is no package, but the folder %s\nfix: remove or change the folder, then: platformd reload",
			module, mod.Dir)
	}
	names := slices.Collect(maps.Keys(d.packages.Entries()))
	return admin.UnknownModule(module, names, "platformd module ls")
}

// granted is what an installation lets the module have, and what it has to wait for.
func (p *proposal) granted() (granted, pending []string) {
	granted = []string{}
	for _, ask := range catalog.Asks(p.staged.Package().Manifest) {
		if slices.Contains(p.Approve, ask.Grant) || p.from != nil && slices.Contains(p.from.Grants, ask.Grant) {
			granted = append(granted, ask.Grant)
		} else {
			pending = append(pending, ask.Grant)
		}
	}
	slices.Sort(granted)
	slices.Sort(pending)
	return granted, pending
}

// expected is what operators approve of when they agree to an installation: at first, all that is asked for.
func (d *daemon) expected(s *staged) (approve []string) {
	if _, found := d.packages.Entries()[s.Package().Manifest.Name]; found {
		return nil
	}
	for _, ask := range catalog.Asks(s.Package().Manifest) {
		approve = append(approve, ask.Grant)
	}
	return approve
}

// folderInTheWay: nobody should wonder which of two modules of one name runs.
func (d *daemon) folderInTheWay(p *proposal) error {
	if p.to == nil || p.to.Replaces {
		return nil
	}
	if mod := d.installed().Get(p.Module); mod != nil && !mod.Packaged {
		return &catalog.Error{Code: "name_taken",
			Message: fmt.Sprintf("there is a module %s already, in the folder %s", p.Module, mod.Dir),
			Fix:     "remove the folder, or have the package take its place: platformd install --replace"}
	}
	return nil
}

// judgeCatalog finds out what the platform would consist of, and whether all that runs could go on.
func (d *daemon) judgeCatalog(ctx context.Context, p *proposal) error {
	found, err := d.scan(d.chosenWith(ctx, p, p.staged))
	if err != nil {
		return err
	}
	d.survey(found)
	now := d.installed()
	p.wanted = now.Take(found, p.Module)
	p.steps = catalog.Plan(now, p.wanted, isDisabled)
	p.before, p.after = now.Get(p.Module), p.wanted.Get(p.Module)
	if p.refused == nil {
		p.refused = d.standsInTheWay(p)
	}
	return nil
}

func isDisabled(why error) bool { return errors.Is(why, errDisabled) }

func (d *daemon) standsInTheWay(p *proposal) error {
	if p.to == nil && p.after == nil {
		if dependents := d.running(d.installed().Dependents(p.Module)); len(dependents) > 0 {
			return &catalog.Error{Code: "has_dependents",
				Message: fmt.Sprintf("module %s is required by: %s", p.Module, strings.Join(dependents, ", ")),
				Fix:     "uninstall or disable those first"}
		}
		return nil
	}
	if may, why := p.wanted.May(p.Module); !may && why != nil && !isDisabled(why) {
		return why
	}
	for _, refusal := range p.steps.Refused {
		return refusal.Err
	}
	return nil
}

// running are those of the modules that nobody has disabled.
func (d *daemon) running(names []string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return d.disabled(name) != nil })
}

// chosenWith is what would be installed with the change; where is the staged package as long as it lies apart.
func (d *daemon) chosenWith(ctx context.Context, p *proposal, where *staged) []catalog.Installed {
	all := slices.DeleteFunc(d.chosen(ctx), func(i catalog.Installed) bool { return i.Name == p.Module })
	if p.to == nil {
		return all
	}
	if where == nil {
		return append(all, d.shelf().Entered(ctx, p.Module, *p.to))
	}
	return append(all, catalog.Installed{
		Name: p.Module, Dir: where.Dir(), Err: d.judge(p.Module, *p.to), Pending: p.to.Pending, Replaces: p.to.Replaces,
	})
}

// contractsOf compares what a package says that it serves with what the modules that run were built to call. What it says is in
// its descriptor sets; without them the comparison is made when it starts.
func (d *daemon) contractsOf(mod *catalog.Module) (differences []string, err error) {
	if mod == nil || len(mod.Manifest.Services.Provides) == 0 {
		return nil, nil
	}
	var sets [][]byte
	err = filepath.WalkDir(mod.Dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".binpb" {
			return err
		}
		content, err := os.ReadFile(path)
		sets = append(sets, content)
		return err
	})
	if err != nil || len(sets) == 0 {
		return nil, err
	}
	provided, err := contracts.FromSets(mod.Manifest.Services.Provides, sets)
	if err != nil {
		return nil, fmt.Errorf("read the descriptor sets of %s: %w", mod.Manifest.Name, err)
	}
	for _, unfit := range d.contracts.TryProvide(mod.Manifest.Name, provided) {
		for _, mismatch := range unfit.Mismatches {
			differences = append(differences, unfit.Consumer+": "+mismatch.Method+": "+mismatch.What)
		}
	}
	slices.Sort(differences)
	return differences, nil
}

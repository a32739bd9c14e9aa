package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/archive"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/signing"
	"github.com/platformd/platformd/core/internal/store"
	"github.com/platformd/platformd/plugin-api/problem"
)

// openPackages reads what is installed, and settles what a daemon before has left half-way.
func (d *daemon) openPackages(context.Context) error {
	opened, err := store.Open(d.dataDir)
	if err != nil {
		return err
	}
	left, err := opened.Recover()
	if err != nil {
		return err
	}
	d.packages = &packages{Store: opened, staged: map[string]*staged{}}
	d.closing(d.packages.discardAll)
	if left == nil {
		return nil
	}
	what := "undone"
	if left.Finished {
		what = "finished"
	}
	d.log.Warn("a change of a package had been cut off; it has been "+what, "module", left.Module, "version", left.Version)
	if left.Purge {
		d.packages.purging = left.Module
	}
	return nil
}

// carryOnPurging has the data of a module removed whose uninstallation was cut off.
func (d *daemon) carryOnPurging() error {
	if d.packages.purging == "" {
		return nil
	}
	if err := d.live.wishes.setPurging(d.packages.purging, true); err != nil {
		return err
	}
	return d.packages.Purged()
}

// packageOrders is what operators can ask about packages, with or without modules that run.
func (d *daemon) packageOrders() admin.Packages {
	return admin.Packages{
		List: d.listPackages, Stage: d.stage, Plan: d.planPackage, Apply: d.applyPackage, Discard: d.discard, Approve: d.approve,
	}
}

func (d *daemon) listPackages(context.Context) (all []admin.InstalledPackage, err error) {
	entries := d.packages.Entries()
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e := entries[name]
		one := admin.InstalledPackage{
			Module: name, Version: e.Version, SHA256: e.SHA256, Signer: e.Signer, Installed: e.Installed,
			Grants: append([]string{}, e.Grants...), Pending: e.Pending,
		}
		if e.Previous != nil {
			one.Previous = e.Previous.Version
		}
		all = append(all, one)
	}
	return all, nil
}

// chosen is what is installed, as the catalog reads it.
func (d *daemon) chosen(ctx context.Context) []catalog.Installed { return d.shelf().Chosen(ctx) }

func (d *daemon) shelf() catalog.Shelf { return catalog.Shelf{Store: d.packages.Store, Judge: d.judge} }

// judge refuses what is not signed by somebody who is trusted now, where config.yaml wants that.
func (d *daemon) judge(name string, e store.Entry) error {
	if !d.config.Modules.RequireSigned {
		return nil
	}
	if e.Signer == "" {
		return &catalog.Error{Code: "unsigned", Message: name + " " + e.Version + " is not signed, as modules.requireSigned demands",
			Fix: "install a signed package of it, or set modules.requireSigned: false"}
	}
	keys, err := signing.TrustIn(d.dataDir).Keys()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(k signing.Key) bool { return k.ID == e.Signer }) {
		return &catalog.Error{Code: "untrusted_key",
			Message: fmt.Sprintf("%s %s is signed with the key %s, which is not trusted any more", name, e.Version, e.Signer),
			Fix:     "install a package signed with another key, or platformd trust add the key again"}
	}
	return nil
}

// approve lets a module have what it waits for, and has it start anew with that.
func (d *daemon) approve(ctx context.Context, module string, grants []string) ([]admin.ModuleChange, error) {
	return inTurn(ctx, d.live, func(ctx context.Context) ([]admin.ModuleChange, error) {
		return d.approveAlone(ctx, module, grants)
	})
}

func (d *daemon) approveAlone(ctx context.Context, module string, grants []string) ([]admin.ModuleChange, error) {
	entries := d.packages.Entries()
	entry, found := entries[module]
	if !found {
		return nil, admin.UnknownModule(module, slices.Collect(maps.Keys(entries)), "platformd module ls")
	}
	if len(grants) == 0 {
		grants = entry.Pending
	}
	for _, grant := range grants {
		if !slices.Contains(entry.Pending, grant) {
			return nil, refused("module %s does not wait for %q\nfix: see what it waits for: platformd module show %[1]s", module, grant)
		}
	}
	approved := slices.Sorted(slices.Values(append(slices.Clone(entry.Grants), grants...)))
	pending := slices.DeleteFunc(slices.Clone(entry.Pending), func(one string) bool { return slices.Contains(grants, one) })
	if err := d.packages.SetGrants(module, approved, pending); err != nil {
		return nil, packageProblem(err)
	}
	if d.supervisor == nil {
		return nil, nil
	}
	changed, err := d.take(ctx, func(now, found *catalog.Catalog) *catalog.Catalog { return now.Take(found, module) })
	if err != nil {
		return nil, err
	}
	if err := changed.errs[module]; err != nil {
		return changed.done, d.notTaken(module, err)
	}
	return changed.done, nil
}

// packageProblem is for the operator: what is wrong with a package, with a change of packages, or with the module in it.
func packageProblem(err error) error {
	var inPackage *archive.Error
	var inSignature *signing.Error
	var inStore *store.Error
	var inModule *catalog.Error
	switch {
	case errors.As(err, &inPackage):
		return problem.New(http.StatusUnprocessableEntity, inPackage.Code, inPackage.Error())
	case errors.As(err, &inSignature):
		return problem.New(http.StatusUnprocessableEntity, inSignature.Code, inSignature.Error())
	case errors.As(err, &inStore):
		return problem.New(http.StatusConflict, inStore.Code, inStore.Error())
	case errors.As(err, &inModule):
		return problem.New(http.StatusConflict, inModule.Code, err.Error())
	}
	return asProblem(err)
}

// codeOf is the stable name of an error.
func codeOf(err error) string {
	var p *problem.Problem
	if errors.As(packageProblem(err), &p) {
		return p.Code
	}
	return "failed_precondition"
}

package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// planPackage says what a change would do.
func (d *daemon) planPackage(ctx context.Context, c admin.PackageChange) (*admin.PackagePlan, error) {
	plan, err := inTurn(ctx, d.live, func(ctx context.Context) (*admin.PackagePlan, error) {
		p, err := d.propose(ctx, c)
		if err != nil {
			return nil, err
		}
		return d.plan(ctx, p)
	})
	return plan, packageProblem(err)
}

func (d *daemon) plan(ctx context.Context, p *proposal) (*admin.PackagePlan, error) {
	plan := &admin.PackagePlan{
		Act: p.Act, Module: p.Module, Staged: p.Staged, Asks: []admin.Ask{}, Effect: effect(p.before, p.after),
	}
	if p.from != nil {
		plan.From = p.from.Version
	}
	if p.to != nil {
		plan.To, plan.SHA256, plan.Signer = p.to.Version, p.to.SHA256, p.to.Signer
	}
	if p.staged != nil {
		d.planStaged(p, plan)
	}
	for _, step := range p.steps.Steps {
		if d.supervisor != nil {
			plan.Effect.Modules = append(plan.Effect.Modules, d.planned(p, step))
		}
	}
	for _, warning := range p.wanted.Warnings {
		if warning.Name == p.Module {
			plan.Warnings = append(plan.Warnings, warning.Err.Error())
		}
	}
	if err := d.planRun(ctx, p, plan); err != nil {
		return nil, err
	}
	if p.refused != nil {
		what, fix := admin.SplitFix(p.refused.Error())
		plan.Refused = &admin.Refusal{Code: codeOf(p.refused), Problem: what, Fix: fix}
		plan.Effect = admin.Effect{Modules: []admin.ModuleChange{}, Migrations: []string{}}
	}
	return plan, nil
}

// planStaged says what is in a package that is to be installed.
func (d *daemon) planStaged(p *proposal, plan *admin.PackagePlan) {
	m := p.staged.Package().Manifest
	plan.Description = m.Description
	if p.staged.signer != nil {
		plan.SignerComment = p.staged.signer.Key.Comment
	}
	for _, ask := range catalog.Asks(m) {
		approved := p.from != nil && slices.Contains(p.from.Grants, ask.Grant)
		plan.Asks = append(plan.Asks, admin.Ask{Grant: ask.Grant, Detail: ask.Detail, Approved: approved})
	}
}

// planRun adds what only the module itself and the database know: which migrations are pending.
func (d *daemon) planRun(ctx context.Context, p *proposal, plan *admin.PackagePlan) (err error) {
	if p.refused != nil {
		return nil
	}
	if plan.Effect.Contracts, err = d.contractsOf(p.after); err != nil {
		return err
	}
	if may, _ := p.wanted.May(p.Module); !may || p.after.Manifest.Migrations == "" {
		return nil
	}
	pending := d.planOf(ctx, p.after)
	if pending.Problem != "" {
		p.refused = &catalog.Error{Code: "migrations_refused", Message: pending.Problem, Fix: pending.Fix}
		return nil
	}
	for _, step := range pending.Steps {
		if d.supervisor != nil { // else they run with the next start
			plan.Effect.Migrations = append(plan.Effect.Migrations, step.ID)
		}
	}
	return nil
}

// planned says of a step what a report says when it has been taken.
func (d *daemon) planned(p *proposal, step catalog.Step) admin.ModuleChange {
	c := admin.ModuleChange{Module: step.Name, Act: string(step.Act), To: versionIn(p.steps.Next, step.Name)}
	if step.Act == catalog.ActUpgrade {
		c.From = d.installedVersion(step.Name)
	}
	return c
}

// effect compares a module's manifest with what it was before. Each may be nil.
func effect(before, after *catalog.Module) admin.Effect {
	difference := func(list func(*manifest.Manifest) []string) admin.Difference {
		old, now := listOf(before, list), listOf(after, list)
		return admin.Difference{Added: missing(old, now), Removed: missing(now, old)}
	}
	return admin.Effect{
		Modules: []admin.ModuleChange{}, Migrations: []string{},
		Routes: difference(routesOf), Permissions: difference(permissionsOf), Grants: difference(grantsOf),
		Publishes: difference(publishesOf), Subscribes: difference(subscribesOf),
		Provides: difference(func(m *manifest.Manifest) []string { return m.Services.Provides }),
		Calls:    difference(func(m *manifest.Manifest) []string { return m.Services.Consumes }),
	}
}

func listOf(mod *catalog.Module, list func(*manifest.Manifest) []string) []string {
	if mod == nil {
		return nil
	}
	return list(mod.Manifest)
}

// missing is what is in the one list and not in the other, sorted.
func missing(from, in []string) (names []string) {
	for _, name := range in {
		if !slices.Contains(from, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func routesOf(m *manifest.Manifest) (all []string) {
	for _, r := range m.Routes {
		who := r.Permission
		if who == "" {
			who = r.Access
		}
		all = append(all, fmt.Sprintf("%s /api/v1/%s%s %s", r.Method, m.Name, r.Path, who))
	}
	return all
}

func permissionsOf(m *manifest.Manifest) (all []string) {
	for _, p := range m.Permissions {
		text := p.Name
		if len(p.Roles) > 0 {
			text += " → " + strings.Join(p.Roles, ", ")
		}
		all = append(all, text)
	}
	return all
}

func grantsOf(m *manifest.Manifest) (all []string) {
	for _, ask := range catalog.Asks(m) {
		all = append(all, ask.Grant)
	}
	return all
}

func publishesOf(m *manifest.Manifest) (all []string) {
	for _, p := range m.Events.Publishes {
		all = append(all, fmt.Sprintf("%s v%d", p.Type, p.Version))
	}
	return all
}

func subscribesOf(m *manifest.Manifest) (all []string) {
	for _, s := range m.Events.Subscribes {
		all = append(all, s.Type)
	}
	return all
}

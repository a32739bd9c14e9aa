package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/plugin-api/problem"
)

// packager is printer for a command about packages. Why one is not taken is an answer, which programs get with its code.
func (a *app) packager(cmd *cobra.Command, work func(cmd *cobra.Command, args []string) error) *cobra.Command {
	return a.printer(cmd, func(cmd *cobra.Command, args []string) error {
		err := asVerdict(work(cmd, args))
		var p *problem.Problem
		if !errors.As(err, &p) {
			return err
		}
		if a.format == formatJSON {
			err = errors.Join(a.out.json(p), err)
		}
		if p.Status == http.StatusUnprocessableEntity {
			err = WithExit(ExitVerification, err)
		}
		return err
	})
}

// asVerdict lets what is found out here about a package look like what the daemon finds out.
func asVerdict(err error) error {
	code, message, fix := reasonOf(err)
	if code == "" || code == "unreadable" {
		return err
	}
	return problem.New(http.StatusUnprocessableEntity, code, message+"\nfix: "+fix)
}

// proposal is a change of a module's packages, and what it would do.
type proposal struct {
	admin.PackageChange
	plan *admin.PackagePlan
}

// refused is why the platform would not do it.
func (p *proposal) refused() error {
	if p.plan.Refused == nil {
		return nil
	}
	return withFix(errors.New(p.plan.Refused.Problem), p.plan.Refused.Fix)
}

// verb is what the change is called.
func (p *proposal) verb() string {
	switch {
	case p.plan.Act == admin.ActInstall && p.plan.From != "":
		return "upgrade"
	case p.plan.Act == admin.ActRollback:
		return "roll back"
	}
	return p.plan.Act
}

// versions are the module, what it is, and what it is to be.
func (p *proposal) versions() string {
	switch {
	case p.plan.From == "" || p.plan.To == "":
		return p.plan.Module + " " + cmp.Or(p.plan.To, p.plan.From)
	}
	return fmt.Sprintf("%s %s → %s", p.plan.Module, p.plan.From, p.plan.To)
}

// signer is of the package that there is to be.
func (p *proposal) signer() string {
	switch {
	case p.plan.To == "":
		return ""
	case p.plan.Signer == "":
		return "nobody"
	case p.plan.SignerComment == "":
		return p.plan.Signer
	}
	return p.plan.Signer + " (" + p.plan.SignerComment + ")"
}

// unapproved are the grants that the module asks for and does not have.
func (p *proposal) unapproved() (grants []string) {
	for _, ask := range p.plan.Asks {
		if !ask.Approved {
			grants = append(grants, ask.Grant)
		}
	}
	return grants
}

// mustBeAsked refuses a command that would have to ask where nobody can answer.
func mustBeAsked(cmd *cobra.Command, yes bool) error {
	if yes || canAsk(cmd) {
		return nil
	}
	return unasked("there is nobody to ask", "see what it would do with `platformd plan`, then add -y")
}

// propose shows what would be done. Programs get that only if it is refused: otherwise what was done follows.
func (a *app) propose(p *proposal, yes bool) error {
	refused := p.refused()
	switch {
	case refused != nil && a.format == formatJSON:
		return errors.Join(a.out.json(p.plan), refused)
	case refused != nil:
		return refused
	case a.format == formatJSON && yes:
		return nil
	}
	to := a.out
	if a.format == formatJSON {
		to = a.err // for who is asked
	}
	err := a.showPlan(to, p)
	fmt.Fprintln(to)
	return err
}

// apply does it, and shows what was done.
func (a *app) apply(ctx context.Context, packages admin.Packages, p *proposal) error {
	outcome, err := packages.Apply(ctx, p.PackageChange)
	switch {
	case err != nil && ctx.Err() != nil:
		return withFix(errors.New("interrupted; a platform that runs goes on with what has begun"),
			"see what came of it: platformd module ls")
	case err != nil:
		return err
	case a.format == formatJSON:
		err = a.out.json(outcome)
	default:
		a.showOutcome(p, outcome)
	}
	return errors.Join(err, notTaken(outcome.Effect.Modules))
}

func (a *app) showOutcome(p *proposal, outcome *admin.PackageOutcome) {
	failed := notTaken(outcome.Effect.Modules) != nil
	if !failed {
		fmt.Fprintln(a.out, clean(p.done(outcome)))
	}
	for _, change := range outcome.Effect.Modules {
		if change.Module != outcome.Module && change.Problem == "" {
			fmt.Fprintln(a.out, clean(sentence(change)))
		}
	}
	if len(outcome.Pending) > 0 {
		fmt.Fprintf(a.out, "not approved yet: %s\n", clean(strings.Join(outcome.Pending, ", ")))
	}
	switch {
	case failed:
	case len(outcome.Pending) > 0:
		fmt.Fprintf(a.err, "next:\n  platformd module approve %s\n", clean(outcome.Module))
	case p.Act == admin.ActInstall:
		fmt.Fprintf(a.err, "next:\n  platformd module show %s\n", clean(outcome.Module))
	}
}

// done says what was done.
func (p *proposal) done(outcome *admin.PackageOutcome) string {
	signer := "unsigned"
	if p.plan.Signer != "" {
		signer = "signed by " + p.plan.Signer
	}
	switch {
	case p.Act == admin.ActUninstall:
		return fmt.Sprintf("uninstalled %s %s; %s", outcome.Module, outcome.From, p.dataAfter(outcome.Exported))
	case p.Act == admin.ActRollback:
		return fmt.Sprintf("rolled back %s: %s → %s", outcome.Module, outcome.From, outcome.To)
	case outcome.From != "":
		return fmt.Sprintf("upgraded %s: %s → %s (%s)", outcome.Module, outcome.From, outcome.To, signer)
	}
	return fmt.Sprintf("installed %s %s (%s)", outcome.Module, outcome.To, signer)
}

// dataAfter says what has become of the data of a module that is uninstalled.
func (p *proposal) dataAfter(exported string) string {
	switch {
	case !p.Purge:
		return "its data is kept, until: platformd module purge " + p.Module
	case exported != "":
		return "its data is gone, and a copy is in " + exported
	}
	return "its data is gone"
}

// completePackage offers the modules that are installed as packages to the shell, if a daemon runs.
func (a *app) completePackage(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	if len(args) == 0 {
		for _, one := range a.installedNow(cmd, args) {
			names = append(names, cobra.CompletionWithDesc(clean(one.Module), clean(one.Version)))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completePending offers the module that waits for approvals, then what it waits for.
func (a *app) completePending(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var words []cobra.Completion
	for _, one := range a.installedNow(cmd, args) {
		switch {
		case len(args) == 0 && len(one.Pending) > 0:
			words = append(words, clean(one.Module))
		case len(args) > 0 && args[0] == one.Module:
			words = slices.DeleteFunc(slices.Clone(one.Pending), func(grant string) bool { return slices.Contains(args, grant) })
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// installedNow is nothing where no daemon runs.
func (a *app) installedNow(cmd *cobra.Command, args []string) (all []admin.InstalledPackage) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	_ = a.converse(func(c *conversation) (err error) {
		all, err = c.Packages().List(ctx)
		return err
	})(cmd, args)
	return all
}

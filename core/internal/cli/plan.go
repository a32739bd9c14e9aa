package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/fatih/color"
	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
)

func (a *app) plan() *cobra.Command {
	o := &installation{}
	uninstall, rollback, purge := "", "", false
	cmd := &cobra.Command{
		Use:   "plan FILE|DIR | --uninstall NAME | --rollback NAME",
		Short: "Show what install, upgrade, uninstall or rollback would do, and do nothing",
		Long: "Shows what `platformd install`, `upgrade`, `uninstall` or `rollback` would do: modules, routes, permissions, grants,\n" +
			"events, services, migrations, and what differs between the contracts of services. With the same flags, they do just\n" +
			"that. Exits with 1 if they would refuse, with 7 if the package is not as it should be.",
		Example: "  platformd plan guestbook-0.2.0.tar.gz\n" +
			"  platformd plan --uninstall guestbook --purge-data\n" +
			"  platformd plan --rollback guestbook",
		Args: func(cmd *cobra.Command, args []string) error {
			if uninstall != "" || rollback != "" {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
	}
	o.flags(cmd)
	o.replaceFlag(cmd)
	cmd.Flags().StringVar(&uninstall, "uninstall", "", "`name` of a module to uninstall")
	cmd.Flags().StringVar(&rollback, "rollback", "", "`name` of a module to roll back")
	cmd.Flags().BoolVar(&purge, "purge-data", false, "with --uninstall: remove the module's data, too")
	cmd.MarkFlagsMutuallyExclusive("uninstall", "rollback")
	cmd.MarkFlagsMutuallyExclusive("purge-data", "rollback")
	for _, name := range []string{"uninstall", "rollback"} {
		_ = cmd.RegisterFlagCompletionFunc(name, a.completePackage)
	}
	return a.packager(cmd, func(cmd *cobra.Command, args []string) error {
		switch {
		case uninstall != "":
			change, err := uninstalling(uninstall, purge, "")
			if err != nil {
				return err
			}
			return a.planOnly(cmd, change)
		case rollback != "":
			return a.planOnly(cmd, admin.PackageChange{Act: admin.ActRollback, Module: rollback})
		case purge:
			return unasked("--purge-data is about --uninstall", "leave it out")
		}
		return a.staged(cmd, args[0], o, func(_ context.Context, _ admin.Packages, p *proposal) error { return a.printPlan(p) })
	})
}

func (a *app) planOnly(cmd *cobra.Command, change admin.PackageChange) error {
	return a.anyhow(cmd, func(ctx context.Context, at admin.Offline) error {
		plan, err := at.Packages.Plan(ctx, change)
		if err != nil {
			return err
		}
		return a.printPlan(&proposal{change, plan})
	})
}

func (a *app) printPlan(p *proposal) error {
	if a.format == formatJSON {
		return errors.Join(a.out.json(p.plan), p.refused())
	}
	return errors.Join(a.showPlan(a.out, p), p.refused())
}

// showPlan prints a plan for people: what there is nothing to say of is left out.
func (a *app) showPlan(to *screen, p *proposal) error {
	err := to.fields([][2]string{
		{p.verb(), p.versions()},
		{"description", p.plan.Description},
		{"signed by", p.signer()},
		{"sha256", p.plan.SHA256},
	})
	if err != nil {
		return err
	}
	effect := &p.plan.Effect
	to.section("modules", moduleLines(effect.Modules))
	to.section("routes", differences(effect.Routes, ""))
	to.section("permissions", differences(effect.Permissions, ""))
	to.section("grants", differences(effect.Grants, ""))
	to.section("events", slices.Concat(differences(effect.Publishes, "publishes "), differences(effect.Subscribes, "subscribes ")))
	to.section("services", slices.Concat(differences(effect.Provides, "provides "), differences(effect.Calls, "calls ")))
	to.section("migrations", effect.Migrations)
	to.section("contracts", effect.Contracts)
	if p.Act == admin.ActInstall && p.plan.From == "" && p.plan.Refused == nil {
		to.section("network", []string{"is not limited: the module may connect to whatever the machine can reach"})
	}
	to.section("data", p.dataLines())
	to.section("warnings", p.plan.Warnings)
	if refused := p.plan.Refused; refused != nil {
		to.section("refused", []string{refused.Problem, "fix: " + refused.Fix})
	}
	return to.asks(p.plan.Asks)
}

// section prints lines below a heading; those that begin with + or - have the colours of diff.
func (s *screen) section(name string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(s, "\n%s\n", name)
	for _, line := range lines {
		text := strings.ReplaceAll(cleanLines(line), "\n", "\n    ")
		switch {
		case strings.HasPrefix(text, "+ "):
			text = s.paint(color.FgGreen, text)
		case strings.HasPrefix(text, "- "):
			text = s.paint(color.FgRed, text)
		}
		fmt.Fprintf(s, "  %s\n", text)
	}
}

// asks prints what a module asks of the platform, and marks what it has not had before.
func (s *screen) asks(asks []admin.Ask) error {
	if len(asks) == 0 {
		return nil
	}
	fmt.Fprintf(s, "\nthe module asks for\n")
	out := tabwriter.NewWriter(s, 0, 0, 2, ' ', 0)
	for _, ask := range asks {
		mark := s.paint(color.FgYellow, "new")
		if ask.Approved {
			mark = s.paint(noColour, "   ")
		}
		fmt.Fprintf(out, "  %s\t%s\t%s\n", mark, clean(ask.Grant), clean(ask.Detail))
	}
	return out.Flush()
}

// moduleLines are what becomes of modules, in its order.
func moduleLines(changes []admin.ModuleChange) (lines []string) {
	for _, change := range changes {
		version := change.To
		switch {
		case change.From != "" && change.To != "":
			version = change.From + " → " + change.To
		case change.To == "":
			version = change.From
		}
		line := strings.TrimSpace(change.Act + " " + change.Module + " " + version)
		if change.Problem != "" {
			line += ": " + change.Problem
		}
		lines = append(lines, line)
	}
	return lines
}

// differences has what goes before what comes.
func differences(d admin.Difference, what string) (lines []string) {
	for _, one := range d.Removed {
		lines = append(lines, "- "+what+one)
	}
	for _, one := range d.Added {
		lines = append(lines, "+ "+what+one)
	}
	return lines
}

// dataLines say what becomes of the data of a module that is uninstalled.
func (p *proposal) dataLines() []string {
	switch {
	case p.plan.Act != admin.ActUninstall:
		return nil
	case !p.Purge:
		return []string{"is kept, until: platformd module purge " + p.plan.Module}
	case p.Export != "":
		return []string{"is copied to " + p.Export + ", then removed"}
	}
	return []string{"is removed, and no copy of it is written"}
}

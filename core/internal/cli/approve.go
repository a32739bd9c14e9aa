package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
)

func (a *app) moduleApprove() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "approve NAME [GRANT…]",
		Short: "Let an installed module have what it has asked for and waits for",
		Long: "Lets a module have what its version asks for and nobody has approved of yet: the grants that are named, or all. A\n" +
			"module that runs is renewed with them, without a failed request.",
		Example: "  platformd module approve blog\n" +
			"  platformd module approve blog 'events.subscribe billing.plan.changed'",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completePending,
	}
	yesFlag(cmd, &yes)
	return a.packager(cmd, func(cmd *cobra.Command, args []string) error {
		if err := mustBeAsked(cmd, yes); err != nil {
			return err
		}
		return a.anyhow(cmd, func(ctx context.Context, at admin.Offline) error {
			grants, err := pendingOf(ctx, at.Packages, args[0], args[1:])
			if err != nil {
				return err
			}
			if len(grants) > 0 && !yes {
				question := fmt.Sprintf("May %s have %s?", args[0], strings.Join(grants, ", "))
				if err := a.agree(cmd, clean(question)); err != nil {
					return err
				}
			}
			return a.approve(ctx, at.Packages, args[0], grants)
		})
	})
}

// pendingOf are those of the named grants, or of all, that a module waits for.
func pendingOf(ctx context.Context, packages admin.Packages, module string, named []string) ([]string, error) {
	all, err := packages.List(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, one := range all {
		names = append(names, one.Module)
	}
	i := slices.Index(names, module)
	if i < 0 {
		return nil, admin.UnknownModule(module, names, "platformd module ls")
	}
	if len(named) == 0 {
		return all[i].Pending, nil
	}
	for _, grant := range named {
		if !slices.Contains(all[i].Pending, grant) && !slices.Contains(all[i].Grants, grant) {
			return nil, unknownGrant(module, grant, all[i].Pending)
		}
	}
	return slices.DeleteFunc(slices.Clone(named), func(grant string) bool { return !slices.Contains(all[i].Pending, grant) }), nil
}

func (a *app) approve(ctx context.Context, packages admin.Packages, module string, grants []string) error {
	changes := []admin.ModuleChange{}
	if len(grants) > 0 {
		done, err := packages.Approve(ctx, module, grants)
		if err != nil {
			return err
		}
		changes = append(changes, done...)
	}
	var err error
	switch {
	case a.format == formatJSON:
		err = a.out.json(changes)
	case len(grants) == 0:
		fmt.Fprintf(a.err, "%s waits for no approval\n", clean(module))
	default:
		fmt.Fprintf(a.out, "%s may: %s\n", clean(module), clean(strings.Join(grants, ", ")))
		for _, change := range changes {
			if change.Problem == "" {
				fmt.Fprintln(a.out, clean(sentence(change)))
			}
		}
	}
	return errors.Join(err, notTaken(changes))
}

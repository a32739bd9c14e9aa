package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
)

func (a *app) permission() *cobra.Command {
	return a.group(&cobra.Command{
		Use: "permission", Short: "Show what there is to be allowed", Aliases: []string{"permissions"},
	}, a.permissionLs())
}

func (a *app) permissionLs() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ls", Short: "List the permissions of the platform and its modules, and which roles have them",
		Aliases: []string{"list"},
	}
	return a.asking(cmd, func(c *conversation) error {
		found, err := c.Permissions(c.cmd.Context())
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(found)
		}
		return a.showPermissions(&found)
	})
}

func (a *app) showPermissions(found *admin.Permissions) error {
	rows := [][]string{{"PERMISSION", "MODULE", "ROLES", "DESCRIPTION"}}
	for _, p := range found.Items {
		rows = append(rows, []string{p.Name, p.Module, cmp.Or(strings.Join(p.Roles, ","), "-"), p.Description})
	}
	if err := a.out.table(rows); err != nil || len(found.Orphans.Patterns) == 0 {
		return err
	}
	rows = [][]string{{"ORPHAN", "ROLE"}}
	for _, p := range found.Orphans.Patterns {
		rows = append(rows, []string{p.Pattern, p.Role})
	}
	fmt.Fprintln(a.out)
	return a.out.table(rows)
}

func (a *app) authz() *cobra.Command {
	return a.group(&cobra.Command{Use: "authz", Short: "Ask who may do what, and why"}, a.authzCheck())
}

func (a *app) authzCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check USER PERMISSION",
		Short: "Tell whether a user may do something, and which role decides that",
		Long:  "Tells whether a user may do something, and which role decides that. Ends with 0 if it is allowed, and with 6 if not.",
		Args:  cobra.ExactArgs(2),
	}
	return a.asking(cmd, func(c *conversation) error {
		answer, err := c.Check(c.cmd.Context(), c.args[0], c.args[1])
		if err != nil {
			return err
		}
		if err := a.showCheck(&answer); err != nil || answer.Allowed {
			return err
		}
		return WithExit(ExitAuth, errors.New(answer.Text))
	})
}

func (a *app) showCheck(c *admin.Check) error {
	if a.format == formatJSON {
		return a.out.json(c)
	}
	why, _ := admin.SplitFix(c.Text)
	return a.out.fields([][2]string{
		{"allowed", yesNo(c.Allowed)}, {"user", c.Email}, {"permission", c.Permission}, {"role", c.Role}, {"through", c.Pattern},
		{"by the manifest of", c.Module}, {"group", c.Via}, {"roles that would", strings.Join(c.Grantors, ", ")}, {"why", why},
	})
}

func (a *app) keys() *cobra.Command {
	rotate := &cobra.Command{
		Use: "rotate", Short: "Replace the keys that sign access tokens; what the old ones signed stays valid until it expires",
	}
	return a.group(&cobra.Command{Use: "keys", Short: "Replace the platform's keys", Aliases: []string{"key"}},
		a.action(rotate, a.converse(func(c *conversation) error {
			if err := c.RotateKeys(c.cmd.Context()); err != nil {
				return err
			}
			fmt.Fprintln(a.err, "made new keys; they sign as soon as every replica knows them, in a minute")
			return nil
		})))
}

func (a *app) setupLink() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "setup-link",
		Short: "Print a link by which the first administrator is made; the one before counts no more",
	}
	return a.asking(cmd, func(c *conversation) error {
		made, err := c.SetupLink(c.cmd.Context())
		if err != nil {
			return err
		}
		return a.showLink(made)
	})
}

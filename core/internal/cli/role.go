package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/authz"
)

func (a *app) role() *cobra.Command {
	return a.group(&cobra.Command{Use: "role", Short: "Say what roles allow, and who has them", Aliases: []string{"roles"}},
		a.roleLs(), a.roleShow(), a.roleCreate(),
		a.doing(one("delete ROLE", "Delete a role; those who have it lose it"), "deleted",
			func(c *admin.Client, cmd *cobra.Command, args []string) error {
				return c.DeleteRole(cmd.Context(), args[0])
			}),
		a.roleEdit("grant", "Let a role allow more: blog.post.read, 'blog.*' or '*'", (*admin.Client).Grant),
		a.roleEdit("revoke", "Let a role allow less, at once", (*admin.Client).Revoke),
		a.roleAssign("assign", "Give a role to users, or to groups", (*admin.Client).Assign),
		a.roleAssign("unassign", "Take a role from users, or from groups", (*admin.Client).Unassign))
}

func (a *app) roleLs() *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Short: "List the roles", Aliases: []string{"list"}}
	return a.asking(cmd, func(c *conversation) error {
		roles, err := c.Roles(c.cmd.Context())
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(roles)
		}
		rows := [][]string{{"ROLE", "USERS", "GROUPS", "PERMISSIONS", "DESCRIPTION"}}
		for i := range roles {
			r := &roles[i]
			rows = append(rows, []string{
				r.Name, strconv.Itoa(r.Users), strconv.Itoa(r.Groups), cmp.Or(strings.Join(patternsOf(r), " "), "-"), r.Description,
			})
		}
		return a.out.table(rows)
	})
}

func patternsOf(r *authz.Role) []string {
	patterns := make([]string, len(r.Patterns))
	for i, p := range r.Patterns {
		patterns[i] = p.Pattern
	}
	return patterns
}

func (a *app) roleShow() *cobra.Command {
	return a.asking(one("show ROLE", "Show what a role allows, and who has it"), func(c *conversation) error {
		role, err := c.Role(c.cmd.Context(), c.args[0])
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(role)
		}
		return a.showRole(&role)
	})
}

func (a *app) showRole(r *admin.Role) error {
	err := a.out.fields([][2]string{
		{"role", r.Name}, {"description", r.Description}, {"users", strconv.Itoa(r.Users)}, {"groups", strconv.Itoa(r.Groups)},
		{"revoked", strings.Join(r.Revoked, " ")},
	})
	if err != nil {
		return err
	}
	if len(r.Patterns) > 0 {
		fmt.Fprintln(a.out)
		if err := a.out.table(patternRows(r.Patterns)); err != nil {
			return err
		}
	}
	if len(r.Holders) == 0 {
		return nil
	}
	rows := [][]string{{"HOLDER", "KIND", "NAME", "BY"}}
	for _, h := range r.Holders {
		rows = append(rows, []string{cmp.Or(h.Email, h.ID), h.Kind, cmp.Or(h.Name, "-"), cmp.Or(h.Source, "operator")})
	}
	fmt.Fprintln(a.out)
	return a.out.table(rows)
}

func patternRows(patterns []authz.RolePattern) [][]string {
	rows := [][]string{{"PERMISSION", "BY", "NOTE"}}
	for _, p := range patterns {
		by, note := "operator", "-"
		if p.Module != "" {
			by = "manifest of " + p.Module
		}
		if p.Orphan {
			note = "no installed module has it"
		}
		rows = append(rows, []string{p.Pattern, by, note})
	}
	return rows
}

func (a *app) roleCreate() *cobra.Command {
	var role admin.NewRole
	cmd := one("create ROLE", "Create a role that allows nothing yet")
	cmd.Flags().StringVar(&role.Description, "description", "", "what the role is `for`")
	return a.asking(cmd, func(c *conversation) error {
		role.Name = c.args[0]
		made, err := c.CreateRole(c.cmd.Context(), role)
		if err != nil {
			return err
		}
		return a.saidRole("created", &made)
	})
}

// saidRole prints a role that was made or changed.
func (a *app) saidRole(what string, r *authz.Role) error {
	fmt.Fprintln(a.err, what+" "+clean(r.Name))
	if a.format == formatJSON {
		return a.out.json(r)
	}
	return a.out.fields([][2]string{
		{"role", r.Name}, {"description", r.Description}, {"permissions", cmp.Or(strings.Join(patternsOf(r), " "), "none")},
	})
}

// editing changes what a role allows.
type editing = func(c *admin.Client, ctx context.Context, role string, permissions ...string) (authz.Role, error)

func (a *app) roleEdit(verb, short string, work editing) *cobra.Command {
	cmd := some(verb+" ROLE PERMISSION…", short)
	return a.asking(cmd, func(c *conversation) error {
		role, err := work(c.Client, c.cmd.Context(), c.args[0], c.args[1:]...)
		if err != nil {
			return err
		}
		return a.saidRole("changed", &role)
	})
}

// assigning changes who has a role.
type assigning = func(c *admin.Client, ctx context.Context, role string, subjects admin.Subjects) error

func (a *app) roleAssign(verb, short string, work assigning) *cobra.Command {
	var groups []string
	cmd := &cobra.Command{
		Use: verb + " ROLE [USER…]", Short: short, Args: cobra.MinimumNArgs(1),
		Example: "  platformd role " + verb + " editor ada@example.com\n" +
			"  platformd role " + verb + " editor --group staff",
	}
	cmd.Flags().StringArrayVar(&groups, "group", nil, "a `group` (repeatable)")
	return a.action(cmd, a.converse(func(c *conversation) error {
		subjects := admin.Subjects{Users: c.args[1:], Groups: groups}
		if len(subjects.Users)+len(groups) == 0 {
			return unasked("there is nobody to "+verb+" the role to or from", "name users, or --group GROUP")
		}
		if err := work(c.Client, c.cmd.Context(), c.args[0], subjects); err != nil {
			return err
		}
		fmt.Fprintln(a.err, clean(verb+"ed "+c.args[0]+": "+strings.Join(append(c.args[1:], groups...), " ")))
		return nil
	}))
}

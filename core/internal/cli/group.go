package cli

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
)

// groupCommand is not called group: that makes commands that hold others.
func (a *app) groupCommand() *cobra.Command {
	return a.group(&cobra.Command{
		Use: "group", Short: "Put users into groups, which roles can be assigned to", Aliases: []string{"groups"},
	},
		a.groupLs(), a.groupShow(), a.groupCreate(),
		a.doing(one("delete GROUP", "Delete a group; its members lose what they have through it"), "deleted",
			func(c *admin.Client, cmd *cobra.Command, args []string) error {
				return c.DeleteGroup(cmd.Context(), args[0])
			}),
		a.doing(some("add GROUP USER…", "Put users into a group"), "added to",
			func(c *admin.Client, cmd *cobra.Command, args []string) error {
				return c.AddMembers(cmd.Context(), args[0], args[1:]...)
			}),
		a.doing(some("remove GROUP USER…", "Take users out of a group"), "removed from",
			func(c *admin.Client, cmd *cobra.Command, args []string) error {
				return c.RemoveMembers(cmd.Context(), args[0], args[1:]...)
			}))
}

// some is a command that takes something, and at least one more that it is about.
func some(use, short string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.MinimumNArgs(2)}
}

func (a *app) groupLs() *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Short: "List the groups", Aliases: []string{"list"}}
	return a.asking(cmd, func(c *conversation) error {
		groups, err := c.Groups(c.cmd.Context())
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(groups)
		}
		rows := [][]string{{"GROUP", "MEMBERS", "ROLES", "DESCRIPTION"}}
		for _, g := range groups {
			rows = append(rows, []string{g.Name, strconv.Itoa(g.Members), cmp.Or(strings.Join(g.Roles, " "), "-"), g.Description})
		}
		return a.out.table(rows)
	})
}

func (a *app) groupShow() *cobra.Command {
	return a.asking(one("show GROUP", "Show one group, with its roles and members"), func(c *conversation) error {
		group, err := c.Group(c.cmd.Context(), c.args[0])
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(group)
		}
		err = a.out.fields([][2]string{
			{"group", group.Name}, {"description", group.Description}, {"roles", cmp.Or(strings.Join(group.Roles, " "), "none")},
			{"members", strconv.Itoa(group.Members)},
		})
		if err != nil || len(group.Users) == 0 {
			return err
		}
		rows := [][]string{{"EMAIL", "NAME", "ID"}}
		for _, u := range group.Users {
			rows = append(rows, []string{cmp.Or(u.Email, "-"), cmp.Or(u.Name, "-"), u.ID})
		}
		fmt.Fprintln(a.out)
		return a.out.table(rows)
	})
}

func (a *app) groupCreate() *cobra.Command {
	var group admin.NewRole
	cmd := one("create GROUP", "Create an empty group")
	cmd.Flags().StringVar(&group.Description, "description", "", "whom the group is `for`")
	return a.asking(cmd, func(c *conversation) error {
		group.Name = c.args[0]
		made, err := c.CreateGroup(c.cmd.Context(), group)
		if err != nil {
			return err
		}
		fmt.Fprintln(a.err, "created "+clean(made.Name))
		if a.format == formatJSON {
			return a.out.json(made)
		}
		return a.out.fields([][2]string{{"group", made.Name}, {"description", made.Description}})
	})
}

package cli

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/identity"
)

func (a *app) user() *cobra.Command {
	return a.group(&cobra.Command{
		Use: "user", Short: "Create, change and remove users, and sign them out", Aliases: []string{"users"},
		Long: "Creates, changes and removes users, and signs them out. Wherever a command takes a USER, an id does as well as an\n" +
			"e-mail address.",
	},
		a.userLs(), a.userShow(), a.userCreate(), a.userInvite(), a.userUpdate(), a.userDelete(), a.userPassword(), a.userResetLink(),
		a.doing(one("disable USER", "Keep a user out: whatever they are signed in with ends"), "disabled",
			func(c *admin.Client, cmd *cobra.Command, args []string) error {
				return c.DisableUser(cmd.Context(), args[0])
			}),
		a.doing(one("enable USER", "Let a user in again who was disabled"), "enabled",
			func(c *admin.Client, cmd *cobra.Command, args []string) error {
				return c.EnableUser(cmd.Context(), args[0])
			}),
		a.userSessions(), a.userLogout())
}

// one is a command that takes one argument.
func one(use, short string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1)}
}

func (a *app) userLs() *cobra.Command {
	var query string
	cmd := &cobra.Command{Use: "ls", Short: "List the users", Aliases: []string{"list"}}
	cmd.Flags().StringVar(&query, "query", "", "what address or name `begins` with")
	return a.asking(cmd, func(c *conversation) error {
		users, err := c.allUsers(query)
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(users)
		}
		rows := [][]string{{"EMAIL", "NAME", "STATE", "CREATED", "ID"}}
		for i := range users {
			u := &users[i]
			rows = append(rows, []string{u.Email, cmp.Or(u.Name, "-"), userState(u), stamp(u.CreatedAt), u.ID})
		}
		return a.out.table(rows)
	})
}

// allUsers turns the pages.
func (c *conversation) allUsers(query string) ([]identity.User, error) {
	all := []identity.User{}
	for next := ""; ; {
		page, err := c.Users(c.cmd.Context(), admin.UserQuery{Query: query, Limit: identity.MaxPage, After: next})
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if next = page.Next; next == "" {
			return all, nil
		}
	}
}

// The states of a user.
const (
	userActive   = "active"
	userInvited  = "no password"
	userDisabled = "disabled"
)

func userState(u *identity.User) string {
	switch {
	case u.Disabled:
		return userDisabled
	case !u.HasPassword:
		return userInvited
	}
	return userActive
}

func (a *app) userShow() *cobra.Command {
	cmd := one("show USER", "Show one user, with roles and groups")
	return a.asking(cmd, func(c *conversation) error {
		u, err := c.User(c.cmd.Context(), c.args[0])
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(u)
		}
		return a.out.fields([][2]string{
			{"email", u.Email}, {"name", u.Name}, {"id", u.ID}, {"state", userState(&u.User)},
			{"roles", cmp.Or(strings.Join(u.Roles, ", "), "none")},
			{"groups", cmp.Or(strings.Join(u.Groups, ", "), "none")},
			{"created", stamp(u.CreatedAt)}, {"changed", stamp(u.UpdatedAt)},
		})
	})
}

func (a *app) userCreate() *cobra.Command {
	var user admin.NewUser
	var file string
	cmd := &cobra.Command{
		Use:   "create EMAIL",
		Short: "Create a user with a password; see invite for one who chooses it",
		Args:  cobra.ExactArgs(1),
		Example: "  platformd user create ada@example.com --name 'Ada Lovelace'\n" +
			"  platformd user create ada@example.com --password-file ./password --admin",
	}
	flags := cmd.Flags()
	flags.StringVar(&user.Name, "name", "", "what people `call` the user")
	flags.BoolVar(&user.Admin, "admin", false, "assign the role admin, which allows everything")
	passwordFlag(cmd, &file)
	return a.asking(cmd, func(c *conversation) error {
		password, err := a.password(c.cmd, file)
		if err != nil {
			return err
		}
		user.Email, user.Password = c.args[0], &password
		created, err := c.CreateUser(c.cmd.Context(), user)
		if err != nil {
			return err
		}
		return a.showUser("created", &created)
	})
}

// showUser prints a user who was made or changed.
func (a *app) showUser(what string, u *identity.User) error {
	fmt.Fprintln(a.err, what+" "+clean(u.Email))
	if a.format == formatJSON {
		return a.out.json(u)
	}
	return a.out.fields([][2]string{{"email", u.Email}, {"name", u.Name}, {"id", u.ID}, {"state", userState(u)}})
}

func (a *app) userInvite() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "invite EMAIL",
		Short: "Create a user, and print a link by which they choose a password",
		Args:  cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&name, "name", "", "what people `call` the user")
	return a.asking(cmd, func(c *conversation) error {
		made, err := c.InviteUser(c.cmd.Context(), c.args[0], name)
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(made)
		}
		return a.showLink(made.Link, [2]string{"email", made.User.Email}, [2]string{"id", made.User.ID})
	})
}

// showLink prints a link below what it is about.
func (a *app) showLink(l admin.Link, about ...[2]string) error {
	fmt.Fprintln(a.err, "Whoever has the link can use it, once. Hand it over where nobody else reads it.")
	if a.format == formatJSON {
		return a.out.json(l)
	}
	return a.out.fields(append(about, [2]string{"link", l.URL}, [2]string{"expires", stamp(l.ExpiresAt)}))
}

func (a *app) userUpdate() *cobra.Command {
	var email, name string
	cmd := &cobra.Command{Use: "update USER", Short: "Change a user's address or name", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVar(&email, "email", "", "the new `address`")
	cmd.Flags().StringVar(&name, "name", "", "the new `name`; may be empty")
	cmd.MarkFlagsOneRequired("email", "name")
	return a.asking(cmd, func(c *conversation) error {
		var change admin.UserChange
		if cmd.Flags().Changed("email") {
			change.Email = &email
		}
		if cmd.Flags().Changed("name") {
			change.Name = &name
		}
		updated, err := c.UpdateUser(c.cmd.Context(), c.args[0], change)
		if err != nil {
			return err
		}
		return a.showUser("changed", &updated)
	})
}

// order is something that is done to what the arguments name.
type order = func(c *admin.Client, cmd *cobra.Command, args []string) error

// doing is a command that does something and says so.
func (a *app) doing(cmd *cobra.Command, done string, work order) *cobra.Command {
	return a.action(cmd, a.converse(func(c *conversation) error {
		if err := work(c.Client, c.cmd, c.args); err != nil {
			return err
		}
		fmt.Fprintln(a.err, done+" "+clean(strings.Join(c.args, " ")))
		return nil
	}))
}

func (a *app) userDelete() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete USER",
		Short: "Remove a user for good; see disable for keeping one out",
		Args:  cobra.ExactArgs(1),
	}
	yesFlag(cmd, &yes)
	return a.action(cmd, a.converse(func(c *conversation) error {
		u, err := c.User(c.cmd.Context(), c.args[0])
		if err != nil {
			return err
		}
		if err := a.confirm(c.cmd, "Delete "+clean(u.Email)+" for good?", yes); err != nil {
			return err
		}
		if err := c.DeleteUser(c.cmd.Context(), u.ID); err != nil {
			return err
		}
		fmt.Fprintln(a.err, "deleted "+clean(u.Email))
		return nil
	}))
}

func (a *app) userPassword() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "password USER",
		Short: "Give a user another password, and sign them out everywhere",
		Args:  cobra.ExactArgs(1),
	}
	passwordFlag(cmd, &file)
	return a.action(cmd, a.converse(func(c *conversation) error {
		password, err := a.password(c.cmd, file)
		if err != nil {
			return err
		}
		if err := c.SetPassword(c.cmd.Context(), c.args[0], password); err != nil {
			return err
		}
		fmt.Fprintln(a.err, "changed the password of "+clean(c.args[0]))
		return nil
	}))
}

func (a *app) userResetLink() *cobra.Command {
	cmd := one("reset-link USER", "Print a link by which a user chooses another password")
	return a.asking(cmd, func(c *conversation) error {
		made, err := c.ResetPassword(c.cmd.Context(), c.args[0])
		if err != nil {
			return err
		}
		return a.showLink(made)
	})
}

func (a *app) userSessions() *cobra.Command {
	cmd := one("sessions USER", "List what a user is signed in with")
	return a.asking(cmd, func(c *conversation) error {
		sessions, err := c.Sessions(c.cmd.Context(), c.args[0])
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(sessions)
		}
		rows := [][]string{{"SESSION", "ADDRESS", "BEGAN", "LAST USED", "EXPIRES", "CLIENT"}}
		for i := range sessions {
			s := &sessions[i]
			rows = append(rows, []string{
				s.ID, cmp.Or(s.Address, "-"), stamp(s.CreatedAt), stamp(s.LastUsedAt), stamp(s.ExpiresAt), cmp.Or(s.UserAgent, "-"),
			})
		}
		return a.out.table(rows)
	})
}

func (a *app) userLogout() *cobra.Command {
	cmd := &cobra.Command{
		Use: "logout USER [SESSION]", Short: "Sign a user out everywhere, or of one session", Args: cobra.RangeArgs(1, 2),
	}
	return a.doing(cmd, "signed out", func(c *admin.Client, cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return c.EndSession(cmd.Context(), args[0], args[1])
		}
		return c.EndSessions(cmd.Context(), args[0])
	})
}

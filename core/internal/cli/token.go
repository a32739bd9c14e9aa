package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/auth"
)

func (a *app) token() *cobra.Command {
	return a.group(&cobra.Command{Use: "token", Short: "Make, list and revoke API tokens", Aliases: []string{"tokens"}},
		a.tokenCreate(), a.tokenLs(), a.tokenRevoke())
}

func (a *app) tokenCreate() *cobra.Command {
	var token admin.NewToken
	var quiet bool
	validity := ttl{text: "30d"}
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make an API token; it is shown this once",
		Example: "  platformd token create --permission blog.post.read --permission blog.post.create --ttl 12h\n" +
			"  TOKEN=$(platformd token create --permission 'blog.*' -q)\n" +
			"  curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8080/api/v1/blog/posts",
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&token.Permissions, "permission", []string{},
		"`permission` that its holder has: blog.post.read, 'blog.*' or '*' (repeatable)")
	flags.Var(&validity, "ttl", "how long it is valid, for example 12h or 30d")
	flags.StringVar(&token.Name, "name", "cli", "`name` to recognise it by")
	flags.StringVar(&token.Owner, "user", "", "the `user` for whom it stands, within what the user may; none: a service's")
	flags.BoolVarP(&quiet, "quiet", "q", false, "print the token alone")
	return a.asking(cmd, func(c *conversation) error {
		token.TTL = validity.text
		created, err := c.CreateToken(c.cmd.Context(), token)
		if err != nil {
			return err
		}
		if quiet {
			_, err = fmt.Fprintln(a.out, created.Secret)
			return err
		}
		return a.showNewToken(created)
	})
}

func (a *app) showNewToken(t admin.CreatedToken) error {
	if len(t.Permissions) == 0 {
		fmt.Fprintln(a.err, "The token has no permission: it opens only routes with access: authenticated (--permission adds one).")
	}
	fmt.Fprintln(a.err, "Keep the token now: it is shown once, platformd itself stores only a hash of it.")
	if a.format == formatJSON {
		return a.out.json(t)
	}
	return a.out.fields([][2]string{
		{"token", t.Secret},
		{"id", t.ID},
		{"name", t.Name},
		{"user", t.Owner},
		{"permissions", strings.Join(t.Permissions, " ")},
		{"expires", stamp(t.ExpiresAt)},
	})
}

func (a *app) tokenLs() *cobra.Command {
	var user string
	cmd := &cobra.Command{Use: "ls", Short: "List the API tokens, without their secrets", Aliases: []string{"list"}}
	cmd.Flags().StringVar(&user, "user", "", "of this `user` alone")
	return a.asking(cmd, func(c *conversation) error {
		tokens, err := c.Tokens(c.cmd.Context(), user)
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(tokens)
		}
		rows := [][]string{{"ID", "NAME", "STATE", "EXPIRES", "LAST USED", "OWNER", "PERMISSIONS"}}
		for i := range tokens {
			t := &tokens[i]
			rows = append(rows, []string{
				t.ID, t.Name, tokenState(&t.Token, time.Now()), stamp(t.ExpiresAt), lastUsed(t.LastUsedAt),
				cmp.Or(t.OwnerEmail, t.Owner, "-"), cmp.Or(strings.Join(t.Permissions, " "), "-"),
			})
		}
		return a.out.table(rows)
	})
}

// The states of a token.
const (
	tokenValid   = "valid"
	tokenExpired = "expired"
	tokenRevoked = "revoked"
)

func tokenState(t *auth.Token, now time.Time) string {
	switch {
	case t.RevokedAt != nil:
		return tokenRevoked
	case !now.Before(t.ExpiresAt):
		return tokenExpired
	}
	return tokenValid
}

func (a *app) tokenRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "End an API token at once",
		Args:  cobra.ExactArgs(1),
	}
	return a.action(cmd, a.converse(func(c *conversation) error {
		if err := c.RevokeToken(c.cmd.Context(), c.args[0]); err != nil {
			return err
		}
		fmt.Fprintln(a.err, "revoked "+clean(c.args[0]))
		return nil
	}))
}

func lastUsed(at *time.Time) string {
	if at == nil {
		return "never"
	}
	return stamp(*at)
}

func stamp(t time.Time) string { return t.Local().Format(time.DateTime) }

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/identity"
)

// TestPeopleScripts runs each script with a daemon of its own, on $DATA.
func TestPeopleScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/people",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Setup: func(env *testscript.Env) error {
			env.Setenv("DATA", startDaemon(t).dir)
			env.Setenv("GORACE", "atexit_sleep_ms=10") // as in TestScripts
			return nil
		},
	})
}

// evil drives a terminal that obeys.
const evil = "\x1b]0;x\x07\u009b2J\u202eevil\t\r\x7f"

// What people are called, and what the audit log says that they asked for, is shown, not obeyed.
func TestPeopleCannotDriveTheTerminal(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	u, err := d.users.Create(t.Context(), identity.NewUser{Email: "ada@example.com"})
	require.NoError(t, err)
	require.NoError(t, d.authz.CreateRole(t.Context(), "editor", ""))
	require.NoError(t, d.authz.Assign(t.Context(), "editor", authz.ToUser(u.ID)))
	require.NoError(t, d.authz.CreateGroup(t.Context(), "staff", ""))
	require.NoError(t, d.authz.AddMembers(t.Context(), "staff", u.ID))
	d.run(t, "user", "show", "ada@example.com") // so that something is in the log
	require.Equal(t, ExitOK, d.run(t, "role", "create", "reviewer").code)
	db := d.store.Core()
	for _, statement := range []string{
		"UPDATE identity_users SET name = ?", "UPDATE authz_roles SET description = ?", "UPDATE authz_groups SET description = ?",
		"UPDATE audit_rows SET actor_name = ?, resource = '', via = 'x'",
	} {
		require.NoError(t, db.Exec(statement, evil).Error)
	}
	for _, args := range [][]string{
		{"user", "ls"}, {"user", "show", u.ID}, {"role", "ls"}, {"role", "show", "editor"}, {"group", "ls"}, {"group", "show", "staff"},
		{"audit", "tail"}, {"audit", "search"}, {"audit", "verify"}, {"authz", "check", u.ID, evil}, {"user", "show", evil},
		{"role", "show", evil}, {"user", "disable", evil}, {"permission", "ls"},
	} {
		for _, format := range []string{"table", "json"} {
			if args[1] == "disable" {
				format = ""
			}
			r := d.run(t, append(args, output(format)...)...)
			require.NotEmpty(t, r.out+r.err)
			require.False(t, strings.ContainsAny(r.out+r.err, "\x1b\x07\u009b\u202e\t\r\x7f"), "%q: %q", args, r.out+r.err)
		}
	}
	r := d.run(t, "audit", "export")
	require.Equal(t, ExitOK, r.code, r.err)
	require.False(t, strings.ContainsAny(r.out, "\x1b\x07\u009b\u202e\t\r\x7f"), "%q", r.out)
	require.Equal(t, evil, decode[struct {
		Actor struct {
			Name string `json:"name"`
		} `json:"actor"`
	}](t, r.out).Actor.Name, "JSON still says what is there")
}

func output(format string) []string {
	if format == "" {
		return nil
	}
	return []string{"-o", format}
}

func TestUserListTurnsThePages(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for i := range identity.MaxPage + 1 {
		_, err := d.users.Create(t.Context(), identity.NewUser{Email: fmt.Sprintf("user%d@example.com", i)})
		require.NoError(t, err)
	}
	require.Len(t, decode[[]identity.User](t, d.run(t, "user", "ls", "-o", "json").out), identity.MaxPage+1)
	require.Equal(t, "[]\n", d.run(t, "user", "ls", "--query", "zz", "-o", "json").out)
}

// One line end at the end of a password file is the editor's; everything else is the password's.
func TestPasswordFile(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	_, err := d.users.Create(t.Context(), identity.NewUser{Email: "ada@example.com"})
	require.NoError(t, err)
	for written, password := range map[string]string{
		"correct horse battery": "correct horse battery", "correct horse battery\n": "correct horse battery",
		"correct horse battery\r\n": "correct horse battery", "correct horse battery\n\n": "correct horse battery\n",
		" correct horse battery ": " correct horse battery ",
	} {
		file := filepath.Join(t.TempDir(), "password")
		require.NoError(t, os.WriteFile(file, []byte(written), 0o600))
		r := d.run(t, "user", "password", "ada@example.com", "--password-file", file)
		require.Equal(t, ExitOK, r.code, r.err)
		_, err := d.users.Verify(t.Context(), "ada@example.com", password)
		require.NoError(t, err, "%q", written)
	}
}

func TestPersonalToken(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	u, err := d.users.Create(t.Context(), identity.NewUser{Email: "ada@example.com"})
	require.NoError(t, err)
	created := decode[admin.CreatedToken](t, d.run(t, "token", "create", "--user", "ada@example.com", "-o", "json").out)
	require.Equal(t, u.ID, created.Owner)
	known, err := d.tokens.Authenticate(t.Context(), created.Secret)
	require.NoError(t, err)
	require.Equal(t, u.ID, known.Principal.ID)
	require.Regexp(t, `(?m)^\S+ +cli +valid +.* never +ada@example\.com +-$`, d.run(t, "token", "ls", "--user", u.ID).out)
	require.Equal(t, ExitNotFound, d.run(t, "token", "create", "--user", "bob@example.com").code)
}

func TestCleanedLines(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	l := &lines{to: &out}
	for _, part := range []string{"{\"a\":\"\xc3", "\xa9\u009b\"}\n{", "}\n"} { // a character that is cut in two
		n, err := l.Write([]byte(part))
		require.NoError(t, err)
		require.Equal(t, len(part), n)
	}
	want := []byte("{\"a\":\"é\\u009b\"}\n{}\n") // not compared as JSON, to which an escape and the character are the same
	require.Equal(t, want, []byte(out.String()))
}

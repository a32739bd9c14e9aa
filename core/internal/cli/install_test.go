package cli

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/archive"
	"github.com/platformd/platformd/plugin-api/problem"
)

// aPackage is a file with a signature beside it. What is in them is for the platform to judge.
func aPackage(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "guestbook-0.1.0.tar.gz")
	require.NoError(t, os.WriteFile(path, []byte("the package"), 0o600))
	require.NoError(t, os.WriteFile(path+".minisig", []byte("the signature\n"), 0o600))
	return path
}

// aFolder is a module's.
func aFolder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "guestbook")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	for name, content := range map[string]string{
		"module.yaml": "apiVersion: platformd/v1\nname: guestbook\nversion: 0.1.0\n", "bin/guestbook": "#!/bin/sh\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755)) //nolint:gosec // an executable
	}
	return dir
}

func TestInstall(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	r := d.run(t, "install", aPackage(t), "-y")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Regexp(t, `(?s)^install +guestbook 0\.1\.0\n.*\nroutes\n.*\n`+
		`installed guestbook 0\.1\.0 \(signed by A67C5E224D7C9333\)\n$`, r.out)
	require.Equal(t, "next:\n  platformd module show guestbook\n", r.err)
	asked, applied := d.shelf.seen()
	require.Equal(t, []string{"stage", "apply", "discard s1"}, asked)
	require.Equal(t, []admin.PackageChange{{
		Act: admin.ActInstall, Module: "guestbook", Staged: "s1", Approve: []string{"database", "identity.read"},
	}}, applied, "yes to a new module is yes to all that it asks for")
	require.Equal(t, "the package", string(d.shelf.bytes))
	require.Equal(t, admin.StageOptions{Signature: []byte("the signature")}, d.shelf.options)

	r = d.run(t, "install", aPackage(t), "-y", "-o", "json", "--replace", "--allow-downgrade", "--allow-unsigned")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Equal(t, "0.1.0", decode[admin.PackageOutcome](t, r.out).To)
	require.Equal(t, admin.StageOptions{Signature: []byte("the signature"), Replaces: true, AllowOlder: true, AllowUnsigned: true},
		d.shelf.options)
}

// Without a daemon the same is done by the command itself.
func TestInstallOffline(t *testing.T) {
	t.Parallel()
	s := newShelf()
	var out, err bytes.Buffer
	code := run(t.Context(), []string{"install", aPackage(t), "-y", "--data-dir", t.TempDir()}, Deps{
		Out: &out, Err: &err, Env: []string{},
		Offline: func(ctx context.Context, _ StartOptions, work func(context.Context, admin.Offline) error) error {
			return work(ctx, admin.Offline{Packages: s.orders(), Data: noData})
		},
	})
	require.Equal(t, ExitOK, code, err.String())
	asked, _ := s.seen()
	require.Equal(t, []string{"stage", "apply", "discard s1"}, asked)
}

// Of a folder a package is made first. It has no signature.
func TestInstallFolder(t *testing.T) {
	t.Parallel()
	d, dir := startDaemon(t), aFolder(t)
	r := d.run(t, "install", dir, "-y")
	require.Equal(t, ExitVerification, r.code)
	requireFix(t, r, "add --allow-unsigned; or pack and sign it first")
	asked, _ := d.shelf.seen()
	require.Empty(t, asked)
	r = d.run(t, "install", dir, "-y", "--allow-unsigned")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Nil(t, d.shelf.options.Signature)
	p, err := archive.Verify(t.Context(), bytes.NewReader(d.shelf.bytes), archive.Options{})
	require.NoError(t, err)
	require.Equal(t, "guestbook", p.Manifest.Name)
	require.Equal(t, ExitConfig, d.run(t, "install", t.TempDir(), "-y", "--allow-unsigned").code, "there is no module")
}

// What is new in an upgrade waits, unless it is approved of.
func TestUpgradeApproves(t *testing.T) {
	t.Parallel()
	const subscribe = "events.subscribe billing.plan.changed"
	for name, c := range map[string]struct {
		flags    []string
		approved []string
		says     string
	}{
		"nothing": {nil, nil, "not approved yet: " + subscribe + ", identity.read\n"},
		"one":     {[]string{"--approve", subscribe}, []string{subscribe}, "not approved yet: identity.read\n"},
		"two":     {[]string{"--approve", subscribe, "--approve", "identity.read"}, []string{subscribe, "identity.read"}, "(unsigned)"},
		"all":     {[]string{"--approve", "all"}, []string{subscribe, "identity.read"}, "(unsigned)"},
		"again":   {[]string{"--approve", "database"}, []string{"database"}, "not approved yet"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startDaemon(t)
			d.shelf.set(func(s *shelf) { s.plan = blogUpgrade() })
			r := d.run(t, append([]string{"upgrade", aPackage(t), "-y"}, c.flags...)...)
			require.Equal(t, ExitOK, r.code, r.err)
			_, applied := d.shelf.seen()
			require.Equal(t, c.approved, applied[0].Approve)
			require.Contains(t, r.out, "upgraded blog: 0.3.0 → 0.4.0 (unsigned)\nstopped notify\n")
			require.Contains(t, r.out, c.says)
			if name == "nothing" || name == "one" {
				require.Equal(t, "next:\n  platformd module approve blog\n", r.err)
			}
			for _, grant := range c.approved {
				require.Contains(t, r.out, "  + "+grant+"\n", "the plan has it")
			}
		})
	}
}

// Nothing is installed, nothing is left, and it is said why.
func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	missing := problem.New(http.StatusUnprocessableEntity, "checksum_mismatch", "bin/x is not what it was\nfix: get it again")
	for name, c := range map[string]struct {
		change    func(s *shelf)
		args      []string
		code      int
		says, fix string
		asked     []string
	}{
		"refused": {
			change: func(s *shelf) {
				s.plan.Refused = &admin.Refusal{Code: "older_version", Problem: "0.2.0 is there", Fix: "platformd rollback guestbook"}
			},
			args: []string{"-y"}, code: ExitError, says: "0.2.0 is there", fix: "platformd rollback guestbook",
			asked: []string{"stage", "discard s1"},
		},
		"bad package": {
			change: func(s *shelf) { s.stageErr = missing }, args: []string{"-y"}, code: ExitVerification,
			says: "bin/x is not what it was", fix: "get it again", asked: []string{"stage"},
		},
		"nobody to ask": {
			code: ExitUsage, says: "there is nobody to ask", fix: "see what it would do with `platformd plan`, then add -y",
		},
		"unknown grant": {
			args: []string{"-y", "--approve", "audit.write"}, code: ExitUsage, says: `module guestbook does not ask for "audit.write"`,
			fix: "name some of these: database, identity.read", asked: []string{"stage", "discard s1"},
		},
		"failed": {
			change: func(s *shelf) { s.plan, s.failed = blogUpgrade(), "health: no database; version 0.3.0 goes on" },
			args:   []string{"-y"}, code: ExitError, says: "blog is as before: health: no database; version 0.3.0 goes on", fix: "mend it",
			asked: []string{"stage", "apply", "discard s1"},
		},
		"not applied": {
			change: func(s *shelf) {
				s.applyErr = problem.New(http.StatusConflict, "change_under_way", "a change is under way\nfix: wait")
			},
			args: []string{"-y"}, code: ExitError, says: "a change is under way", fix: "wait",
			asked: []string{"stage", "apply", "discard s1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startDaemon(t)
			if c.change != nil {
				d.shelf.set(c.change)
			}
			r := d.run(t, append([]string{"install", aPackage(t)}, c.args...)...)
			require.Equal(t, c.code, r.code, r.err)
			require.Contains(t, r.err, "error: "+c.says)
			require.NotContains(t, r.out, "installed")
			require.NotContains(t, r.out, "upgraded")
			requireFix(t, r, c.fix)
			asked, _ := d.shelf.seen()
			require.Equal(t, c.asked, asked)
		})
	}
}

func TestUpgradeIsOfWhatIsThere(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	r := d.run(t, "upgrade", aPackage(t), "-y")
	require.Equal(t, ExitNotFound, r.code)
	requireFix(t, r, "install it: platformd install FILE")
}

// Programs get the code of why a package is not taken.
func TestInstallTellsPrograms(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	path := aPackage(t)
	d.shelf.set(func(s *shelf) {
		s.stageErr = problem.New(http.StatusUnprocessableEntity, "bad_signature", "no\nfix: x")
	})
	r := d.run(t, "install", path, "-y", "-o", "json")
	require.Equal(t, ExitVerification, r.code)
	require.Equal(t, "bad_signature", decode[problem.Problem](t, r.out).Code)
	d.shelf.set(func(s *shelf) {
		s.stageErr, s.plan.Refused = nil, &admin.Refusal{Code: "name_taken", Problem: "p", Fix: "f"}
	})
	r = d.run(t, "install", path, "-y", "-o", "json")
	require.Equal(t, ExitError, r.code)
	require.Equal(t, "name_taken", decode[admin.PackagePlan](t, r.out).Refused.Code)

	require.NoError(t, os.Remove(path+".minisig"))
	r = d.run(t, "install", path, "-y", "-o", "json")
	require.Equal(t, ExitVerification, r.code)
	require.Equal(t, "unsigned", decode[problem.Problem](t, r.out).Code)
	requireFix(t, r, "get the signature, too, and put it beside the file; or add --allow-unsigned")
	require.Equal(t, ExitError, d.run(t, "install", path+"x", "-y").code, "there is no such file")
}

// Nothing in a package, or of who has signed it, drives a terminal.
func TestPlansAreHarmless(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	d.shelf.set(func(s *shelf) {
		s.plan = blogUpgrade()
		bad, all := evil, []string{evil}
		s.plan.Module, s.plan.From, s.plan.To, s.plan.Description, s.plan.SignerComment, s.plan.Signer = bad, bad, bad, bad, bad, bad
		s.plan.Asks = []admin.Ask{{Grant: bad, Detail: bad}, {Grant: bad + "2", Detail: bad, Approved: true}}
		change := admin.Difference{Added: all, Removed: all}
		s.plan.Effect = admin.Effect{
			Modules: []admin.ModuleChange{{Module: bad, Act: bad, From: bad, To: bad}, {Module: "x", Act: "upgrade", From: bad, To: bad}},
			Routes:  change, Permissions: change, Grants: change, Publishes: change, Subscribes: change, Provides: change, Calls: change,
			Migrations: all, Contracts: all,
		}
		s.plan.Warnings = all
		s.installed[1].Signer, s.installed[1].Pending, s.installed[1].Previous = bad, all, bad
	})
	commands := [][]string{
		{"install", aPackage(t), "-y"}, {"plan", aPackage(t)}, {"rollback", "blog", "-y"}, {"uninstall", "blog", "-y"},
		{"module", "approve", "blog", "-y"}, {"module", "ls"}, {"module", "show", "blog"}, {"rollback", evil, "-y"},
		{"install", aPackage(t), "-y", "--approve", evil + "3"}, {"module", "approve", evil, "-y"},
	}
	for _, args := range commands {
		for _, format := range []string{"table", "json"} {
			r := d.run(t, append(args, "-o", format)...)
			require.NotEmpty(t, r.out+r.err)
			require.NotRegexp(t, "[\x1b\x07\u009b\u202e\t\r\x7f]", r.out+r.err, "%q", args)
		}
	}
}

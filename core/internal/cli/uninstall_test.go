package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
)

func TestUninstall(t *testing.T) {
	t.Parallel()
	here, err := os.Getwd()
	require.NoError(t, err)
	for name, c := range map[string]struct {
		flags  []string
		purge  bool
		export string // a regular expression
		says   string
	}{
		"kept": {nil, false, `^$`, "uninstalled blog 0.3.1; its data is kept, until: platformd module purge blog\n"},
		"purged": {
			[]string{"--purge-data"}, true, `^` + here + `/blog-data-\d{8}-\d{6}\.tar\.gz$`, "its data is gone, and a copy is in " + here,
		},
		"exported":  {[]string{"--purge-data", "--export", "x.gz"}, true, `^` + filepath.Join(here, "x.gz") + `$`, "/x.gz\n"},
		"elsewhere": {[]string{"--purge-data", "--export", "/tmp/x.gz"}, true, `^/tmp/x.gz$`, "is in /tmp/x.gz\n"},
		"lost":      {[]string{"--purge-data", "--no-export"}, true, `^$`, "uninstalled blog 0.3.1; its data is gone\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startDaemon(t)
			d.shelf.set(func(s *shelf) { s.plan = removed(admin.ActUninstall, "") })
			r := d.run(t, append([]string{"uninstall", "blog", "-y"}, c.flags...)...)
			require.Equal(t, ExitOK, r.code, r.err)
			require.True(t, strings.HasPrefix(r.out, "uninstall  blog 0.3.1\n"), r.out)
			require.Contains(t, r.out, c.says)
			asked, applied := d.shelf.seen()
			require.Equal(t, []string{"plan", "apply"}, asked)
			require.Regexp(t, c.export, applied[0].Export)
			applied[0].Export = ""
			require.Equal(t, admin.PackageChange{Act: admin.ActUninstall, Module: "blog", Purge: c.purge}, applied[0])
		})
	}
}

func TestUninstallRefuses(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for _, flags := range [][]string{
		{}, {"-y", "--no-export"}, {"-y", "--export", "x"}, {"-y", "--purge-data", "--export", "x", "--no-export"},
	} {
		require.Equal(t, ExitUsage, d.run(t, append([]string{"uninstall", "blog"}, flags...)...).code, flags)
	}
	r := d.run(t, "uninstall", "nobody", "-y")
	require.Equal(t, ExitNotFound, r.code)
	requireFix(t, r, "list what there is: platformd module ls")
	d.shelf.set(func(s *shelf) {
		s.plan.Refused = &admin.Refusal{
			Code: "has_dependents", Problem: "blog is required by: notify", Fix: "uninstall or disable those first",
		}
	})
	r = d.run(t, "uninstall", "blog", "-y")
	require.Equal(t, ExitError, r.code)
	require.Equal(t, "error: blog is required by: notify\nfix: uninstall or disable those first\n", r.err)
	_, applied := d.shelf.seen()
	require.Empty(t, applied)
}

func TestRollback(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	d.shelf.set(func(s *shelf) { s.plan = removed(admin.ActRollback, "0.3.0") })
	require.Equal(t, ExitUsage, d.run(t, "rollback", "blog").code)
	r := d.run(t, "rollback", "blog", "-y")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Contains(t, r.out, "roll back  blog 0.3.1 → 0.3.0\n")
	require.Contains(t, r.out, "\nrolled back blog: 0.3.1 → 0.3.0\n")
	_, applied := d.shelf.seen()
	require.Equal(t, []admin.PackageChange{{Act: admin.ActRollback, Module: "blog"}}, applied)
}

func TestApprove(t *testing.T) {
	t.Parallel()
	const subscribe = "events.subscribe billing.plan.changed"
	d := startDaemon(t)
	d.shelf.set(func(s *shelf) { s.installed[1].Pending = []string{subscribe, "identity.read"} })
	for _, c := range []struct{ named, approved []string }{
		{nil, []string{subscribe, "identity.read"}}, {[]string{"identity.read"}, []string{"identity.read"}},
		{[]string{"database", subscribe}, []string{subscribe}},
	} {
		r := d.run(t, append([]string{"module", "approve", "blog", "-y"}, c.named...)...)
		require.Equal(t, ExitOK, r.code, r.err)
		require.Equal(t, "blog may: "+strings.Join(c.approved, ", ")+"\nupgraded blog: 0.3.0 → 0.3.0\n", r.out)
	}
	asked, _ := d.shelf.seen()
	require.Equal(t, []string{
		`approve blog ["` + subscribe + `" "identity.read"]`, `approve blog ["identity.read"]`, `approve blog ["` + subscribe + `"]`,
	}, asked)

	for _, args := range [][]string{{"billing"}, {"blog", "database"}} {
		r := d.run(t, append([]string{"module", "approve", "-y"}, args...)...)
		require.Equal(t, ExitOK, r.code, r.err)
		require.Equal(t, args[0]+" waits for no approval\n", r.err)
	}
	require.Equal(t, "[]\n", d.run(t, "module", "approve", "billing", "-y", "-o", "json").out)
	r := d.run(t, "module", "approve", "blog", "-y", "audit.write")
	require.Equal(t, ExitUsage, r.code)
	requireFix(t, r, "name some of these: "+subscribe+", identity.read")
	require.Equal(t, ExitNotFound, d.run(t, "module", "approve", "blgo", "-y").code)
	require.Equal(t, ExitUsage, d.run(t, "module", "approve", "blog").code, "nobody can be asked")
	asked, _ = d.shelf.seen()
	require.Len(t, asked, 3, "nothing more was approved of")

	d.shelf.set(func(s *shelf) { s.failed = "it does not come up" })
	r = d.run(t, "module", "approve", "blog", "-y")
	require.Equal(t, ExitError, r.code)
	require.Contains(t, r.err, "error: blog is as before: it does not come up\n")
}

func TestPackageNamesAreCompleted(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for _, args := range [][]string{{"uninstall", ""}, {"rollback", ""}, {"plan", "--uninstall", ""}, {"plan", "--rollback", ""}} {
		r := invoke(t.Context(), append([]string{"__complete", "--data-dir", d.dir}, args...)...)
		require.Contains(t, r.out, "billing\t0.2.0\nblog\t0.3.0\n", args)
	}
	complete := func(args ...string) string {
		return invoke(t.Context(), append([]string{"__complete", "--data-dir", d.dir, "module", "approve"}, args...)...).out
	}
	require.True(t, strings.HasPrefix(complete(""), "blog\n:4"), "only what waits")
	require.Contains(t, complete("blog", ""), "events.subscribe billing.plan.changed\n")
}

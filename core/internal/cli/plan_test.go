package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/fatih/color"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
)

var update = flag.Bool("update", false, "write the golden plans anew")

// removed is the plan of a module that goes.
func removed(act, to string) admin.PackagePlan {
	return admin.PackagePlan{
		Act: act, Module: "blog", From: "0.3.1", To: to,
		Effect: admin.Effect{
			Modules: []admin.ModuleChange{{Module: "blog", Act: "stop", From: "0.3.1"}},
			Routes:  admin.Difference{Removed: []string{"GET /api/v1/blog/posts blog.post.read"}},
		},
	}
}

// TestPlanText compares every plan with testdata/plan/NAME.golden; `go test -run TestPlanText -update` writes them anew.
func TestPlanText(t *testing.T) {
	t.Parallel()
	refused := newGuestbook()
	refused.Effect, refused.Asks = admin.Effect{}, nil
	refused.Refused = &admin.Refusal{Code: "name_taken", Problem: "there is a module guestbook already", Fix: "add --replace"}
	file := aPackage(t)
	for name, c := range map[string]struct {
		plan admin.PackagePlan
		args []string
		code int
	}{
		"install":   {newGuestbook(), []string{file}, ExitOK},
		"upgrade":   {blogUpgrade(), []string{file, "--approve", "identity.read"}, ExitOK},
		"refused":   {refused, []string{file}, ExitError},
		"uninstall": {removed(admin.ActUninstall, ""), []string{"--uninstall", "blog"}, ExitOK},
		"purge":     {removed(admin.ActUninstall, ""), []string{"--uninstall", "blog", "--purge-data"}, ExitOK},
		"rollback":  {removed(admin.ActRollback, "0.3.0"), []string{"--rollback", "blog"}, ExitOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startDaemon(t)
			d.shelf.set(func(s *shelf) { s.plan = c.plan })
			r := d.run(t, append([]string{"plan"}, c.args...)...)
			require.Equal(t, c.code, r.code, r.err)
			got := regexp.MustCompile(`/\S*/blog-data-\d{8}-\d{6}\.tar\.gz`).ReplaceAllString(r.out, "/COPY")
			golden := filepath.Join("testdata", "plan", name+".golden")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644)) //nolint:gosec // part of the source
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
			asked, applied := d.shelf.seen()
			require.Empty(t, applied)
			if c.args[0] == file {
				require.Equal(t, "discard s1", asked[len(asked)-1], "nothing is left of it")
			}
		})
	}
}

func TestPlanTellsPrograms(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	r := d.run(t, "plan", aPackage(t), "-o", "json")
	require.Equal(t, ExitOK, r.code, r.err)
	want := newGuestbook()
	want.Staged = "s1"
	require.Equal(t, want, decode[admin.PackagePlan](t, r.out))
	d.shelf.set(func(s *shelf) { s.plan.Refused = &admin.Refusal{Code: "has_dependents", Problem: "p", Fix: "f"} })
	r = d.run(t, "plan", "--uninstall", "blog", "-o", "json")
	require.Equal(t, ExitError, r.code)
	require.Equal(t, "has_dependents", decode[admin.PackagePlan](t, r.out).Refused.Code)
	requireFix(t, r, "f")
	require.Equal(t, ExitNotFound, d.run(t, "plan", "--rollback", "nobody").code)
	for _, args := range [][]string{
		{}, {"a", "b"}, {"a", "--uninstall", "blog"}, {"--uninstall", "blog", "--rollback", "blog"}, {"a", "--purge-data"},
		{"--rollback", "blog", "--purge-data"},
	} {
		require.Equal(t, ExitUsage, d.run(t, append([]string{"plan"}, args...)...).code, args)
	}
}

// What comes and what goes has the colours of diff, on a terminal alone.
func TestPlanColours(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	for _, colours := range []bool{false, true} {
		s := &screen{&text, colours}
		text.Reset()
		s.section("routes", []string{"- GET /a", "+ GET /b", "x"})
		minus, plus := s.paint(color.FgRed, "- GET /a"), s.paint(color.FgGreen, "+ GET /b")
		require.Equal(t, "\nroutes\n  "+minus+"\n  "+plus+"\n  x\n", text.String())
		require.Equal(t, colours, minus != "- GET /a")
	}
}

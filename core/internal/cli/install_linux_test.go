package cli

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
)

// atTerminal runs a command about packages before a person, who types what answer says, a line for each question. Without an
// answer the person interrupts.
func atTerminal(t *testing.T, s *shelf, answers string, args ...string) (seen string, err error) {
	t.Helper()
	sat := sit(t, "[y/N] ")
	a := newApp(Deps{
		Out: sat.program, Err: sat.program, Env: []string{},
		Offline: func(ctx context.Context, _ StartOptions, work func(context.Context, admin.Offline) error) error {
			return work(ctx, admin.Offline{Packages: s.orders(), Data: noData})
		},
	})
	root := a.root()
	root.SetArgs(append(args, "--data-dir", t.TempDir()))
	root.SetIn(sat.program)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()
	err = sat.reply(t, answers, interrupt, ended)
	return sat.all.String(), err
}

func TestInstallAsksAtATerminal(t *testing.T) {
	t.Parallel()
	s := newShelf()
	seen, err := atTerminal(t, s, "y\n", "install", aPackage(t))
	require.NoError(t, err)
	require.Contains(t, seen, "the module asks for\r\n")
	require.Contains(t, seen, "Install guestbook 0.1.0? [y/N] ")
	require.NotContains(t, seen, "what is new")
	_, applied := s.seen()
	require.Equal(t, []string{"database", "identity.read"}, applied[0].Approve)

	for _, answer := range []string{"n\n", ""} { // the second is Ctrl-C
		s := newShelf()
		_, err := atTerminal(t, s, answer, "install", aPackage(t))
		require.ErrorContains(t, err, "nothing was done")
		asked, _ := s.seen()
		require.Equal(t, []string{"stage", "discard s1"}, asked)
	}
}

// What an upgrade wants beyond what was approved of is a question of its own, and no is an answer.
func TestUpgradeAsksForWhatIsNew(t *testing.T) {
	t.Parallel()
	for answers, approved := range map[string][]string{
		"y\ny\n": {"events.subscribe billing.plan.changed", "identity.read"}, "y\nn\n": nil,
	} {
		s := newShelf()
		s.plan = blogUpgrade()
		seen, err := atTerminal(t, s, answers, "upgrade", aPackage(t))
		require.NoError(t, err)
		require.Contains(t, seen, "Upgrade blog to 0.4.0? [y/N] ")
		require.Contains(t, seen, "May it have what is new (events.subscribe billing.plan.changed, identity.read)? [y/N] ")
		_, applied := s.seen()
		require.Equal(t, approved, applied[0].Approve)
	}
	s := newShelf()
	s.plan = blogUpgrade()
	seen, err := atTerminal(t, s, "y\ny\n", "upgrade", aPackage(t), "--approve", "identity.read")
	require.NoError(t, err)
	require.Contains(t, seen, "what is new (events.subscribe billing.plan.changed)?")
	_, applied := s.seen()
	require.Equal(t, []string{"identity.read", "events.subscribe billing.plan.changed"}, applied[0].Approve)
}

// Data is not lost for a y that was meant for something else.
func TestPurgeAsksForTheName(t *testing.T) {
	t.Parallel()
	for answers, want := range map[string]int{"y\nblog\n": 1, "y\ny\n": 0, "y\n\n": 0, "n\nblog\n": 0} {
		s := newShelf()
		s.plan = removed(admin.ActUninstall, "")
		_, err := atTerminal(t, s, answers, "uninstall", "blog", "--purge-data")
		require.Equal(t, want == 1, err == nil, "%q: %v", answers, err)
		_, applied := s.seen()
		require.Len(t, applied, want, answers)
	}
	s := newShelf()
	s.plan = removed(admin.ActRollback, "0.3.0")
	seen, err := atTerminal(t, s, "y\n", "rollback", "blog")
	require.NoError(t, err)
	require.Contains(t, seen, "Roll blog back to 0.3.0? [y/N] ")
	s = newShelf()
	seen, err = atTerminal(t, s, "y\n", "module", "approve", "blog")
	require.NoError(t, err)
	require.Contains(t, seen, "May blog have events.subscribe billing.plan.changed? [y/N] ")
}

// Whoever interrupts while the change is made is told where to look, and the package is forgotten if it is not used.
func TestInterruptedInstall(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	d.shelf.set(func(s *shelf) { s.block = true })
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	path := aPackage(t)
	ended := make(chan result, 1)
	go func() { ended <- invoke(ctx, "install", path, "-y", "--data-dir", d.dir) }()
	require.Eventually(t, func() bool { _, applied := d.shelf.seen(); return len(applied) == 1 }, deadline, time.Millisecond)
	interrupt()
	r := requireSoon(t, ended)
	require.Equal(t, ExitError, r.code)
	require.Equal(t, "error: interrupted; a platform that runs goes on with what has begun\n"+
		"fix: see what came of it: platformd module ls\n", r.err)
	asked, _ := d.shelf.seen()
	require.Equal(t, "discard s1", asked[len(asked)-1])
}

package supervisor_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/supervisor"
)

// next is another version of the subject.
func next(t *testing.T, runtime string) *supervisor.Module {
	t.Helper()
	mod := module(t, "subject", runtime, func(mod *supervisor.Module) { mod.Revision = "next" })
	m := *mod.Manifest
	m.Version = "2.0.0"
	catalogued := *mod.Module
	catalogued.Manifest = &m
	mod.Module = &catalogued
	return mod
}

// upgrade has the subject come to its next version; switched is called in the moment.
func (b *bench) upgrade(mod *supervisor.Module, ready error, switched func()) error {
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	return b.supervisor.Upgrade(ctx, supervisor.Upgrade{
		Module: mod, Ready: func(context.Context) error { return ready }, Switch: switched,
	})
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"overlap", "exclusive"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			runtime := "  instances: 2\n  upgrade: " + kind + "\n"
			b := newBench(t, module(t, "subject", runtime))
			before := b.awaitReady("subject", 2)

			bad := next(t, runtime)
			misbehave(t, bad, "refuse")
			never := func() { t.Error("it was switched to what does not work") }
			require.ErrorContains(t, b.upgrade(bad, nil, never), "the disk is full")
			require.ErrorContains(t, b.upgrade(next(t, runtime), errors.New("not now"), never), "not now")
			old := b.awaitReady("subject", 2)
			require.Equal(t, "1.0.0", old.Version)
			require.Equal(t, kind == "overlap", old.Instances[0].PID == before.Instances[0].PID, "it makes way only where it must")

			switched := 0
			require.NoError(t, b.upgrade(next(t, "  instances: 3\n  upgrade: "+kind+"\n"), nil, func() {
				switched++
				alive := syscall.Kill(old.Instances[0].PID, 0) == nil
				require.Equal(t, kind == "overlap", alive, "the old ones serve until this moment, or are gone")
			}))
			require.Equal(t, 1, switched)
			after := b.awaitReady("subject", 3)
			require.Equal(t, "2.0.0", after.Version)
			require.Equal(t, 3, after.Wanted)
			for _, p := range old.Instances {
				require.ErrorIs(t, syscall.Kill(p.PID, 0), syscall.ESRCH)
			}
			inst, err := b.registry.Acquire(t.Context(), "subject", 0)
			require.NoError(t, err)
			require.Equal(t, "next", inst.Revision())
			inst.Release()

			require.NoError(t, syscall.Kill(after.Instances[0].PID, syscall.SIGKILL))
			b.await("subject", func(s supervisor.Status) bool { return s.Restarts == 1 && len(s.Instances) == 3 })
			require.Equal(t, "2.0.0", b.status("subject").Version)
		})
	}
}

// TestAStopBreaksAnUpgradeOff, and what it had launched ends.
func TestAStopBreaksAnUpgradeOff(t *testing.T) {
	t.Parallel()
	b := newBench(t, module(t, "subject", ""))
	b.awaitReady("subject", 1)
	slow := next(t, "")
	misbehave(t, slow, "wait")
	ended := make(chan error, 1)
	go func() { ended <- b.upgrade(slow, nil, func() {}) }()
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(slow.Dir, "waits"))
		return err == nil
	}, patience, time.Millisecond)
	require.Error(t, b.upgrade(next(t, ""), nil, func() {}), "one at a time")
	require.NoError(t, b.order(b.supervisor.Stop, "subject"))
	require.ErrorContains(t, <-ended, "broken off")
	require.Equal(t, supervisor.Stopped, b.status("subject").State)
}

// TestModulesComeAndGo while others run.
func TestModulesComeAndGo(t *testing.T) {
	t.Parallel()
	b := newBench(t, module(t, "first", ""))
	b.awaitReady("first", 1)
	dependent := module(t, "second", "", func(mod *supervisor.Module) { mod.After = []string{"first"} })
	require.NoError(t, b.supervisor.Add(t.Context(), dependent))
	second := b.awaitReady("second", 1).Instances[0].PID
	bad := module(t, "bad", "", func(mod *supervisor.Module) { mod.Budget.Max = 1 })
	misbehave(t, bad, "exit")
	var state *supervisor.StateError
	require.ErrorAs(t, b.supervisor.Add(t.Context(), bad), &state)

	b.supervisor.Remove("second", "bad", "nobody")
	require.ErrorIs(t, syscall.Kill(second, 0), syscall.ESRCH)
	require.False(t, b.supervisor.Runs("second"))
	require.Equal(t, supervisor.Ready, b.status("first").State)
	b.stop()
	require.Error(t, b.supervisor.Add(t.Context(), dependent), "the platform is stopping")
}

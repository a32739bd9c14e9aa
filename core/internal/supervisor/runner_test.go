package supervisor_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/plugintest/echo"
)

// TestEveryWayToEndIsNoticed: by the process, by the probe, and by the connection.
func TestEveryWayToEndIsNoticed(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		hurt   func(t *testing.T, mod *supervisor.Module, pid int)
		reason string
	}{
		"killed": {func(t *testing.T, _ *supervisor.Module, pid int) {
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		}, "signal killed"},
		"stopped": {func(t *testing.T, _ *supervisor.Module, pid int) {
			require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
		}, "health timeout"},
		"livelocked": {func(t *testing.T, mod *supervisor.Module, _ int) { misbehave(t, mod, "hang") }, "health timeout"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mod := module(t, "subject", "")
			b := newBench(t, mod)
			before := b.awaitReady("subject", 1)
			c.hurt(t, mod, before.Instances[0].PID)
			var crashes []supervisor.Crash
			require.Eventually(t, func() bool {
				var err error
				crashes, err = b.supervisor.Crashes("subject")
				return err == nil && len(crashes) > 0
			}, patience, time.Millisecond)
			misbehave(t, mod, "")
			require.Equal(t, c.reason, crashes[0].Reason)
			require.Equal(t, "signal killed", crashes[0].Exit)
			require.Equal(t, before.Instances[0].PID, crashes[0].PID)
			require.Equal(t, "the end", crashes[0].Log[0].Message)
			after := b.await("subject", func(s supervisor.Status) bool { return s.State == supervisor.Ready && s.Restarts > 0 })
			require.NotEqual(t, before.Instances[0].PID, after.Instances[0].PID)
		})
	}
}

// TestOneOfSeveralInstancesIsNotMissed: the others take the requests, at once.
func TestOneOfSeveralInstancesIsNotMissed(t *testing.T) {
	t.Parallel()
	b := newBench(t, module(t, "subject", "  instances: 3\n"))
	before := b.awaitReady("subject", 3)
	require.NoError(t, syscall.Kill(before.Instances[1].PID, syscall.SIGKILL))
	b.await("subject", func(s supervisor.Status) bool { return s.Restarts == 1 && len(s.Instances) == 3 })
	b.mu.Lock()
	defer b.mu.Unlock()
	first := 0
	for b.history["subject"][first] != supervisor.Ready {
		first++
	}
	for _, state := range b.history["subject"][first:] {
		require.Equal(t, supervisor.Ready, state)
	}
}

func TestRestartRenewsEveryInstance(t *testing.T) {
	t.Parallel()
	mod := module(t, "subject", "  instances: 2\n")
	b := newBench(t, mod)
	before := b.awaitReady("subject", 2)
	require.NoError(t, b.order(b.supervisor.Restart, "subject"))
	after := b.awaitReady("subject", 2)
	for i := range after.Instances {
		require.NotEqual(t, before.Instances[i].PID, after.Instances[i].PID)
		require.ErrorIs(t, syscall.Kill(before.Instances[i].PID, 0), syscall.ESRCH, "its predecessor is gone when the order is done")
	}
	require.Zero(t, after.Restarts, "a restart is no crash")

	misbehave(t, mod, "refuse")
	require.ErrorContains(t, b.order(b.supervisor.Restart, "subject"), "the disk is full")
	require.Equal(t, after.Instances, b.awaitReady("subject", 2).Instances, "what works goes on")
}

func TestStopAndStart(t *testing.T) {
	t.Parallel()
	b := newBench(t, module(t, "subject", ""))
	before := b.awaitReady("subject", 1)
	require.NoError(t, b.order(b.supervisor.Stop, "subject"))
	stopped := b.status("subject")
	require.Equal(t, supervisor.Stopped, stopped.State)
	require.Equal(t, "an operator stopped it", stopped.Reason)
	require.Error(t, b.registry.Ready("subject"))
	require.ErrorIs(t, syscall.Kill(before.Instances[0].PID, 0), syscall.ESRCH)
	require.NoError(t, b.order(b.supervisor.Start, "subject"))
	b.awaitReady("subject", 1)
	require.ErrorIs(t, b.order(b.supervisor.Stop, "nobody"), supervisor.ErrUnknownModule)
}

// TestCrashLoopKeepsTheReason: over its budget a module is left alone for a while, and what its launches said is kept.
func TestCrashLoopKeepsTheReason(t *testing.T) {
	t.Parallel()
	mod := module(t, "subject", "", func(mod *supervisor.Module) { mod.Budget.Max = 2 })
	misbehave(t, mod, "exit")
	crashes := t.TempDir()
	keep := func(deps *supervisor.Deps) { deps.CrashDir = crashes }
	b := newBenchWith(t, keep, mod)
	looping := b.await("subject", func(s supervisor.Status) bool { return s.State == supervisor.CrashLoop })
	require.Contains(t, looping.Reason, "exit 3")
	require.Equal(t, 2, looping.Restarts)
	require.Eventually(t, func() bool {
		kept, err := b.supervisor.Crashes("subject")
		return err == nil && len(kept) >= 3
	}, patience, time.Millisecond)
	misbehave(t, mod, "")
	require.NoError(t, b.order(b.supervisor.Start, "subject"), "an operator need not wait for the next attempt")
	b.awaitReady("subject", 1)

	b.stop()
	require.FileExists(t, filepath.Join(crashes, "subject.json"))
	again := newBenchWith(t, keep, mod)
	kept, err := again.supervisor.Crashes("subject")
	require.NoError(t, err)
	require.Contains(t, kept[0].Reason, "exit 3", "the next run of the core remembers")
}

// TestAModuleThatIsNotWellGoesOn: it is shown to the operator; a restart would not bring what it lacks.
func TestAModuleThatIsNotWellGoesOn(t *testing.T) {
	t.Parallel()
	mod := module(t, "subject", "")
	b := newBench(t, mod)
	before := b.awaitReady("subject", 1)
	misbehave(t, mod, "unwell")
	b.await("subject", func(s supervisor.Status) bool { return s.Problem == "no mail can be sent" })
	misbehave(t, mod, "")
	after := b.await("subject", func(s supervisor.Status) bool { return s.Problem == "" })
	require.Equal(t, before.Instances, after.Instances)
}

// TestAttachedIsNotProbed: a debugger may hold the process for as long as it likes.
func TestAttachedIsNotProbed(t *testing.T) {
	t.Parallel()
	attached := module(t, "attached", "", func(mod *supervisor.Module) { mod.Attach = true })
	probed := module(t, "probed", "")
	b := newBench(t, attached, probed)
	pid := b.awaitReady("attached", 1).Instances[0].PID
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	require.NoError(t, syscall.Kill(b.awaitReady("probed", 1).Instances[0].PID, syscall.SIGSTOP))
	b.await("probed", func(s supervisor.Status) bool { return s.State == supervisor.Ready && s.Restarts == 1 })
	require.Zero(t, b.status("attached").Restarts)
	require.Equal(t, supervisor.Ready, b.status("attached").State)
}

// TestModulesThatDoNotFitTogether: what was built wrongly is not tried again, what could not be found out is.
func TestModulesThatDoNotFitTogether(t *testing.T) {
	t.Parallel()
	differ := errors.New("the binary serves a.A (fix: agree)")
	for name, deps := range map[string]func(*supervisor.Deps){
		"calls": func(d *supervisor.Deps) {
			d.Agree = func(*supervisor.Module, []byte) (func(), error) { return nil, differ }
		},
		"services": func(d *supervisor.Deps) { d.Verify = verifying(differ) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBenchWith(t, deps, module(t, "subject", ""))
			failed := b.await("subject", func(s supervisor.Status) bool { return s.State == supervisor.Failed })
			require.Contains(t, failed.Reason, differ.Error())
			require.Zero(t, failed.Restarts)
			_, callable := b.registry.State("subject")
			require.False(t, callable)
		})
	}
	t.Run("unknown", func(t *testing.T) {
		t.Parallel()
		slow := verifying(status.Error(codes.DeadlineExceeded, "slow"), nil)
		b := newBenchWith(t, func(d *supervisor.Deps) { d.Verify = slow }, module(t, "subject", ""))
		require.Equal(t, 1, b.awaitReady("subject", 1).Restarts)
	})
}

// verifying answers with each of the errors in turn, and then with the last.
func verifying(answers ...error) func(context.Context, *supervisor.Module, *instance.Instance, bool) (func(), error) {
	var calls atomic.Int64
	return func(context.Context, *supervisor.Module, *instance.Instance, bool) (func(), error) {
		return nil, answers[min(int(calls.Add(1)), len(answers))-1]
	}
}

// TestAModuleIsAskedWhatItCalls: what it answers is judged before it is initialised.
func TestAModuleIsAskedWhatItCalls(t *testing.T) {
	t.Parallel()
	consumed := make(chan []byte, 1)
	mod := module(t, "subject", "services: { consumes: ["+echo.Service+"] }\nrequires: { optional: { other: \"*\" } }\n")
	b := newBenchWith(t, func(d *supervisor.Deps) {
		d.Agree = func(_ *supervisor.Module, said []byte) (func(), error) {
			consumed <- said
			return nil, nil
		}
	}, mod)
	b.awaitReady("subject", 1)
	set := &descriptorpb.FileDescriptorSet{}
	require.NoError(t, proto.Unmarshal(<-consumed, set))
	require.Equal(t, "platformd/echo/v1/echo.proto", set.GetFile()[1].GetName())
}

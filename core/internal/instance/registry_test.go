package instance_test

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
)

// soon bounds what must happen without a long wait, on a busy machine too.
const soon = 15 * time.Second

func TestAcquireSaysWhyNot(t *testing.T) {
	t.Parallel()
	registry := instance.NewRegistry()
	var notReady *instance.NotReadyError

	_, err := registry.Acquire(t.Context(), "blog", time.Hour)
	require.ErrorAs(t, err, &notReady)
	require.Contains(t, notReady.Reason, "not installed")

	registry.Remove("blog", "its migration failed", false)
	_, err = registry.Acquire(t.Context(), "blog", time.Hour)
	require.ErrorAs(t, err, &notReady)
	require.Equal(t, "its migration failed", notReady.Reason)
	require.ErrorAs(t, registry.Ready("blog"), &notReady)
	require.ErrorAs(t, registry.Await(t.Context(), "blog", time.Hour), &notReady)

	registry.Remove("blog", "it is restarting", true)
	_, err = registry.Acquire(t.Context(), "blog", time.Millisecond)
	require.ErrorAs(t, err, &notReady)
	require.True(t, notReady.Coming)
	_, err = registry.Acquire(t.Context(), "blog", 0)
	require.ErrorAs(t, err, &notReady, "without hold it does not wait")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = registry.Acquire(ctx, "blog", time.Hour)
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, registry.Waiting())
}

// TestWhoWaitsHearsThatNobodyComes: a module that gives up while requests are held for it must not keep them.
func TestWhoWaitsHearsThatNobodyComes(t *testing.T) {
	t.Parallel()
	registry := instance.NewRegistry()
	registry.Remove("blog", "it is restarting", true)
	told := make(chan error, 1)
	go func() { told <- registry.Await(t.Context(), "blog", time.Hour) }()
	require.Eventually(t, func() bool { return registry.Waiting() == 1 }, soon, time.Millisecond)
	registry.Remove("blog", "it keeps failing", false)
	require.ErrorContains(t, <-told, "it keeps failing")
}

func TestTheQueueIsBounded(t *testing.T) {
	t.Parallel()
	registry := instance.NewRegistry()
	registry.Remove("blog", "it is restarting", true)
	registry.Remove("shop", "it is restarting", true)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range instance.MaxWaiting {
		all.Go(func() { _ = registry.Await(ctx, "blog", time.Hour) })
	}
	require.Eventually(t, func() bool { return registry.Waiting() == instance.MaxWaiting }, soon, time.Millisecond)
	_, err := registry.Acquire(t.Context(), "blog", time.Hour)
	var overloaded *instance.OverloadedError
	require.ErrorAs(t, err, &overloaded)
	require.True(t, overloaded.Waiting)
	require.ErrorContains(t, err, "1024 requests wait")
	var notReady *instance.NotReadyError
	require.ErrorAs(t, registry.Await(t.Context(), "shop", time.Millisecond), &notReady, "each module has a queue of its own")
	cancel()
	all.Wait()
	require.Zero(t, registry.Waiting())
}

func TestAcquireWaitsForTheNextInstance(t *testing.T) {
	t.Parallel()
	launcher := instancetest.Launcher(t)
	first := instancetest.Launch(t, launcher, "good")
	registry := instance.NewRegistry()
	registry.Put("good", first)
	require.NoError(t, registry.Ready("good"))

	acquired, err := registry.Acquire(t.Context(), "good", 0)
	require.NoError(t, err)
	require.Same(t, first, acquired)
	acquired.Release()
	require.NoError(t, syscall.Kill(first.PID(), syscall.SIGKILL))
	<-first.Done()
	_, err = registry.Acquire(t.Context(), "good", time.Millisecond)
	require.Error(t, err, "a dead process is not handed out, even before the supervisor has noticed")
	require.Error(t, registry.Ready("good"))

	got := make(chan *instance.Instance, 1)
	go func() {
		next, err := registry.Acquire(t.Context(), "good", time.Minute)
		if err == nil {
			next.Release()
		}
		got <- next
	}()
	second := instancetest.Launch(t, launcher, "good")
	registry.Put("good", second)
	require.Same(t, second, <-got)
}

// limited launches a module that has so many exchanges in progress at most.
func limited(t *testing.T, launcher *instance.Launcher, concurrency int) *instance.Instance {
	t.Helper()
	spec := instancetest.Spec(t, "good")
	spec.Concurrency = concurrency
	inst, err := launcher.Launch(t.Context(), spec)
	require.NoError(t, err)
	t.Cleanup(inst.Kill)
	return inst
}

func acquire(t *testing.T, registry *instance.Registry) *instance.Instance {
	t.Helper()
	inst, err := registry.Acquire(t.Context(), "good", 0)
	require.NoError(t, err)
	return inst
}

func TestTheLeastBusyIsChosen(t *testing.T) {
	t.Parallel()
	launcher := instancetest.Launcher(t)
	registry := instance.NewRegistry()
	load := map[*instance.Instance]int{}
	var all []*instance.Instance
	for range 3 {
		inst := limited(t, launcher, 0)
		all, load[inst] = append(all, inst), 0
		registry.Put("good", inst)
		registry.Put("good", inst) // twice is once
	}
	for range 30 {
		load[acquire(t, registry)]++
	}
	for _, n := range load {
		require.Equal(t, 10, n)
	}
	for range 5 {
		all[1].Release()
	}
	for range 5 {
		require.Same(t, all[1], acquire(t, registry), "it has become the least busy")
	}

	registry.Withdraw("good", all[0], "never told", false)
	require.NoError(t, registry.Ready("good"))
	require.NoError(t, syscall.Kill(all[1].PID(), syscall.SIGKILL))
	<-all[1].Done()
	for range 5 {
		require.Same(t, all[2], acquire(t, registry), "the others are withdrawn or dead")
	}
	registry.Withdraw("good", all[1], "never told", false)
	registry.Withdraw("good", all[1], "never told", false) // twice is once
	require.NoError(t, registry.Ready("good"))
	registry.Withdraw("good", all[2], "the last one has gone", false)
	require.ErrorContains(t, registry.Ready("good"), "the last one has gone")
}

// TestTiesAreBrokenByChance: otherwise the first instance would get everything while there is little to do.
func TestTiesAreBrokenByChance(t *testing.T) {
	t.Parallel()
	launcher := instancetest.Launcher(t)
	registry := instance.NewRegistry()
	registry.Put("good", limited(t, launcher, 0))
	registry.Put("good", limited(t, launcher, 0))
	served := map[*instance.Instance]int{}
	for range 1000 {
		inst := acquire(t, registry)
		served[inst]++
		inst.Release()
	}
	for _, n := range served {
		require.Greater(t, n, 300)
	}
	require.Len(t, served, 2)
}

func TestPlacesAreBounded(t *testing.T) {
	t.Parallel()
	launcher := instancetest.Launcher(t)
	registry := instance.NewRegistry()
	registry.Put("good", limited(t, launcher, 2))
	registry.Put("good", limited(t, launcher, 3))
	instance.Calm(registry, "good")
	var taken []*instance.Instance
	for range 5 {
		taken = append(taken, acquire(t, registry))
	}
	began := time.Now()
	_, err := registry.Acquire(t.Context(), "good", time.Hour)
	var overloaded *instance.OverloadedError
	require.ErrorAs(t, err, &overloaded)
	require.Equal(t, 5, overloaded.Limit)
	require.Less(t, time.Since(began), soon, "who is one too many is told at once")
	stream, err := registry.AcquireStream(t.Context(), "good", 0)
	require.NoError(t, err, "a stream takes no place")
	_, err = registry.Acquire(t.Context(), "good", 0)
	require.ErrorAs(t, err, &overloaded)
	stream.ReleaseStream()
	_, err = registry.Acquire(t.Context(), "good", 0)
	require.ErrorAs(t, err, &overloaded, "nor does it leave one")
	taken[0].Release()
	require.Same(t, taken[0], acquire(t, registry))
}

// TestTheHeldAreNotShed: when a module comes back, all who waited for it come at once, and more than it has places for.
func TestTheHeldAreNotShed(t *testing.T) {
	t.Parallel()
	registry := instance.NewRegistry()
	registry.Remove("good", "it is restarting", true)
	const callers, places = 500, 3
	var all sync.WaitGroup
	var busy atomic.Int64
	end := make(chan struct{})
	for range callers {
		all.Go(func() {
			inst, err := registry.Acquire(t.Context(), "good", 2*soon)
			if err != nil {
				t.Error(err)
				return
			}
			if busy.Add(1) > places {
				t.Error("more are in progress than there are places")
			}
			<-end
			busy.Add(-1)
			inst.Release()
		})
	}
	require.Eventually(t, func() bool { return registry.Waiting() == callers }, soon, time.Millisecond)
	registry.Put("good", limited(t, instancetest.Launcher(t), places))
	instance.Surge(registry, "good") // for as long as this machine needs
	require.Eventually(t, func() bool {
		return busy.Load() == places && registry.Waiting() == callers-places
	}, soon, time.Millisecond)
	close(end)
	began := time.Now()
	all.Wait()
	require.Less(t, time.Since(began), soon, "each place that becomes free is taken")
	require.Zero(t, registry.Waiting())
}

// TestNoPlaceIsForgotten: of two that become free at once, both are taken.
func TestNoPlaceIsForgotten(t *testing.T) {
	t.Parallel()
	registry := instance.NewRegistry()
	registry.Put("good", limited(t, instancetest.Launcher(t), 2))
	instance.Surge(registry, "good")
	for range 200 {
		first, second := acquire(t, registry), acquire(t, registry)
		got := make(chan error, 2)
		for range 2 {
			go func() { _, err := registry.Acquire(t.Context(), "good", 2*soon); got <- err }()
		}
		require.Eventually(t, func() bool { return registry.Waiting() == 2 }, soon, 10*time.Microsecond)
		first.Release()
		second.Release()
		require.NoError(t, <-got)
		require.NoError(t, <-got)
		first.Release()
		second.Release()
	}
}

func BenchmarkAcquire(b *testing.B) {
	launcher := instancetest.Launcher(b)
	for name, n := range map[string]int{"1 instance": 1, "4 instances": 4} {
		b.Run(name, func(b *testing.B) {
			registry := instance.NewRegistry()
			for range n {
				registry.Put("good", instancetest.Launch(b, launcher, "good"))
			}
			b.ReportAllocs()
			for b.Loop() {
				inst, err := registry.Acquire(b.Context(), "good", 0)
				if err != nil {
					b.Fatal(err)
				}
				inst.Release()
			}
		})
	}
}

func TestAcquireAllocatesNothing(t *testing.T) {
	launcher := instancetest.Launcher(t)
	registry := instance.NewRegistry()
	for range 3 {
		registry.Put("good", limited(t, launcher, 256))
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			inst, err := registry.Acquire(t.Context(), "good", 0)
			if err != nil {
				t.Error(err)
				return
			}
			inst.Release()
		}))
	}
}

// What waits for a module hears of every change, also of a module that nobody has heard of yet.
func TestStateTellsOfChanges(t *testing.T) {
	t.Parallel()
	registry := instance.NewRegistry()
	changed, callable := registry.State("good")
	require.False(t, callable)
	again, _ := registry.State("good")
	require.Equal(t, changed, again, "asking changes nothing")
	require.ErrorContains(t, registry.Ready("good"), "not installed")

	registry.Remove("good", "it is starting", true)
	awaitChange(t, changed)
	changed, callable = registry.State("good")
	require.False(t, callable)
	inst := instancetest.Launch(t, instancetest.Launcher(t), "good")
	registry.Put("good", inst)
	awaitChange(t, changed)
	changed, callable = registry.State("good")
	require.True(t, callable)
	registry.Put("good", inst)
	select {
	case <-changed:
		t.Fatal("nothing has changed")
	default:
	}
	require.NoError(t, syscall.Kill(inst.PID(), syscall.SIGKILL))
	<-inst.Done()
	_, callable = registry.State("good")
	require.False(t, callable, "nobody has taken it out yet")
	registry.Withdraw("good", inst, "it is restarting", true)
	awaitChange(t, changed)
}

func awaitChange(t *testing.T, changed <-chan struct{}) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(soon):
		t.Fatal("nothing changed")
	}
}

// Who works for a module goes on while it restarts, and ends when nobody expects it.
func TestAwaitGone(t *testing.T) {
	t.Parallel()
	registry := instance.NewRegistry()
	registry.AwaitGone(t.Context(), "nobody") // returns
	await := func(ctx context.Context) <-chan struct{} {
		gone := make(chan struct{})
		go func() { defer close(gone); registry.AwaitGone(ctx, "good") }()
		return gone
	}
	stays := func(gone <-chan struct{}) {
		t.Helper()
		select {
		case <-gone:
			t.Fatal("it is not gone")
		default:
		}
	}
	inst := instancetest.Launch(t, instancetest.Launcher(t), "good")
	registry.Put("good", inst)
	gone := await(t.Context())
	registry.Withdraw("good", inst, "it is restarting", true)
	stays(gone)
	registry.Put("good", inst)
	stays(gone)
	registry.Remove("good", "it is restarting", true)
	stays(gone)
	registry.Remove("good", "it was stopped", false)
	awaitChange(t, gone)
	awaitChange(t, await(t.Context()))

	registry.Put("good", inst)
	ctx, cancel := context.WithCancel(t.Context())
	gone = await(ctx)
	cancel()
	awaitChange(t, gone)
}

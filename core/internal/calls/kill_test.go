package calls_test

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// load is how often the callee is killed, how often a second it is called, and how long each call may take: what is promised in a
// soak; where other tests use the machine too, what any machine can do: no more at once than a module may have under way.
func load() (kills int, rate time.Duration, within time.Duration) {
	if os.Getenv("PLATFORMD_SOAK") == "full" {
		return 100, 300, 2 * time.Second
	}
	return 8, 12, 20 * time.Second
}

// keep relaunches billing whenever its process ends, as the supervisor does, until stop is closed.
func (w *world) keep(launched chan<- int, stop <-chan struct{}) {
	defer close(launched) // a launch that fails ends this goroutine
	inst := w.launch()
	for {
		select {
		case launched <- inst.PID():
		case <-stop:
			return
		}
		select {
		case <-inst.Done():
		case <-stop:
			return
		}
		w.registry.Withdraw("billing", inst, "restarting", true)
		inst.Kill()
		inst = w.launch()
	}
}

// A caller does not notice that its callee is killed, again and again, but for the time that it takes.
func TestKillsAreNotNoticed(t *testing.T) {
	w := newWorld(t)
	launched, stop := make(chan int), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { w.keep(launched, stop) })
	pid, alive := <-launched
	require.True(t, alive)
	conn := w.caller(blog())
	var calls, failed atomic.Int64
	kills, rate, within := load()
	all.Go(func() {
		ticker := time.NewTicker(time.Second / rate)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-stop:
				return
			}
			all.Go(func() {
				ctx, cancel := context.WithTimeout(to(t.Context(), "billing"), within)
				defer cancel()
				calls.Add(1)
				if _, err := invoke(ctx, conn, getPlan, "pid"); err != nil {
					failed.Add(1)
					t.Error(err)
				}
			})
		}
	})
	for range kills {
		pause := time.NewTimer(150 * time.Millisecond)
		<-pause.C
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		pid, alive = <-launched
		require.True(t, alive)
	}
	close(stop)
	all.Wait()
	require.Zero(t, failed.Load())
	t.Logf("%d kills, %d calls, %d retries", kills, calls.Load(), w.calls.Statuses()[0].Retries)
}

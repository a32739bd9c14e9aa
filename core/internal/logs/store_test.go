package logs

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
)

// receive fails the test instead of waiting for ever.
func receive(t *testing.T, from <-chan Entry) (Entry, bool) {
	t.Helper()
	select {
	case e, open := <-from:
		return e, open
	case <-time.After(10 * time.Second):
		require.FailNow(t, "no record came")
		return Entry{}, false
	}
}

func requireClosed(t *testing.T, from <-chan Entry) {
	t.Helper()
	_, open := receive(t, from)
	require.False(t, open)
}

func TestFollow(t *testing.T) {
	t.Parallel()
	l, _ := newLog(t, Options{})
	blog := l.Logger.Named("module.blog")
	for i := range 3 {
		blog.Info(fmt.Sprint("kept ", i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	records := l.Store.Follow(ctx, Filter{Module: "blog", Level: hclog.Info, N: 2})
	fresh := l.Store.Follow(ctx, Filter{Module: "blog", N: -1})
	l.Logger.Named("module.hello").Info("another module")
	blog.Debug("below the level")
	blog.Warn("new")
	for _, want := range []string{"kept 1", "kept 2", "new"} {
		e, _ := receive(t, records)
		require.Equal(t, want, e.Message)
		require.Zero(t, e.Lost)
	}
	e, _ := receive(t, fresh)
	require.Equal(t, "new", e.Message)
	cancel()
	requireClosed(t, records)
	requireClosed(t, fresh)
	require.Eventually(t, func() bool { l.Store.mu.Lock(); defer l.Store.mu.Unlock(); return len(l.Store.followers) == 0 },
		10*time.Second, time.Millisecond)
}

func TestFollowersEndWithTheLog(t *testing.T) {
	t.Parallel()
	l, _ := newLog(t, Options{})
	idle, stuck := l.Store.Follow(t.Context(), Filter{}), l.Store.Follow(t.Context(), Filter{})
	l.Logger.Info("for whom it may concern")
	_, open := receive(t, idle)
	require.True(t, open)
	require.NoError(t, l.Close())
	requireClosed(t, idle)
	requireClosed(t, stuck)
	requireClosed(t, l.Store.Follow(t.Context(), Filter{}))
	require.NoError(t, l.Close(), "twice does no harm")
}

// A follower that does not receive holds nothing up; it loses the oldest records, and learns how many.
func TestSlowFollower(t *testing.T) {
	t.Parallel()
	const keep, total = 10, 1000
	l, _ := newLog(t, Options{Ring: keep})
	l.Logger.Info("kept")
	records := l.Store.Follow(t.Context(), Filter{})
	for i := range total {
		l.Logger.Info(fmt.Sprint("record ", i))
	}
	got, lost, last := 0, 0, ""
	for last != fmt.Sprint("record ", total-1) {
		e, _ := receive(t, records)
		got, lost, last = got+1, lost+e.Lost, e.Message
	}
	require.Equal(t, total+1, got+lost)
	require.LessOrEqual(t, got, keep+3, "the kept one, one in the follower's hand, one on its way, and what waited")
	require.Positive(t, lost)
}

// Every record reaches every follower or is counted as lost, in the order in which it was logged.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	const writers, each, readers = 8, 300, 4
	l, _ := newLog(t, Options{Ring: 100, Dir: t.TempDir()})
	var reading, writing sync.WaitGroup
	for range readers {
		records := l.Store.Follow(t.Context(), Filter{N: -1})
		reading.Go(func() {
			next := map[string]int{}
			for seen := 0; seen < writers*each; {
				e, open := receive(t, records)
				if !open {
					t.Error("closed early")
					return
				}
				seen += 1 + e.Lost
				n, is := e.Fields["n"].(int)
				if !is || n < next[e.Module] {
					t.Errorf("%s: record %v after %d", e.Module, e.Fields["n"], next[e.Module])
				}
				next[e.Module] = n + 1
			}
		})
	}
	for w := range writers {
		writing.Go(func() {
			log := l.Logger.Named(fmt.Sprintf("module.m%d", w))
			for n := range each {
				log.With("w", w).Info("record", "n", n)
				if n%50 == 0 {
					l.Store.Tail(Filter{N: 1})
				}
			}
		})
	}
	writing.Wait()
	reading.Wait()
	require.Len(t, l.Store.Tail(Filter{}), writers*100)
}

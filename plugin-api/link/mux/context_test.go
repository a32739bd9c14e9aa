package mux

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
)

// contexts makes a callContext and the one that it stands for, of the same call.
func contexts(call link.Call) map[string]func() (context.Context, context.CancelFunc) {
	return map[string]func() (context.Context, context.CancelFunc){
		"ours": func() (context.Context, context.CancelFunc) {
			c := &callContext{}
			c.init(call)
			return c, func() { c.cancel(context.Canceled) }
		},
		"context.WithTimeout": func() (context.Context, context.CancelFunc) {
			ctx := link.With(context.Background(), &call)
			if call.Timeout <= 0 {
				return context.WithCancel(ctx)
			}
			return context.WithTimeout(ctx, call.Timeout)
		},
	}
}

// Each check holds for callContext and for what package context would do.
func TestCallContextIsLikeAnyOther(t *testing.T) {
	t.Parallel()
	for _, checks := range []map[string]contextCheck{contextBasics(), contextDeadlines(), contextChildren(), contextFuncs()} {
		for name, check := range checks {
			checkContexts(t, name, check)
		}
	}
}

func checkContexts(t *testing.T, name string, check contextCheck) {
	t.Helper()
	for whose, make := range contexts(link.Call{Route: "r", Timeout: time.Minute}) {
		t.Run(name+"/"+whose, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := make()
				defer cancel()
				check(t, ctx, cancel)
			})
		})
	}
}

type contextCheck = func(t *testing.T, ctx context.Context, cancel context.CancelFunc)

func contextBasics() map[string]contextCheck {
	return map[string]contextCheck{
		"open at first": func(t *testing.T, ctx context.Context, _ context.CancelFunc) {
			require.NoError(t, ctx.Err())
			require.False(t, isClosed(ctx.Done()))
			require.Equal(t, "r", link.FromContext(ctx).Route)
			require.Nil(t, ctx.Value("other"))
		},
		"deadline": func(t *testing.T, ctx context.Context, _ context.CancelFunc) {
			deadline, ok := ctx.Deadline()
			require.True(t, ok)
			require.Equal(t, time.Minute, time.Until(deadline))
		},
		"cancelled": func(t *testing.T, ctx context.Context, cancel context.CancelFunc) {
			cancel()
			cancel()
			require.True(t, isClosed(ctx.Done()))
			require.Equal(t, context.Canceled, ctx.Err())
			require.Equal(t, context.Canceled, context.Cause(ctx))
		},
		"cancelled while waited for": func(t *testing.T, ctx context.Context, cancel context.CancelFunc) {
			go cancel()
			<-ctx.Done()
			require.Equal(t, context.Canceled, ctx.Err())
		},
	}
}

func contextDeadlines() map[string]contextCheck {
	return map[string]contextCheck{
		"late": func(t *testing.T, ctx context.Context, cancel context.CancelFunc) {
			<-ctx.Done()
			cancel()
			require.Equal(t, context.DeadlineExceeded, ctx.Err())
		},
		"late, and nobody waits": func(t *testing.T, ctx context.Context, _ context.CancelFunc) {
			<-time.After(time.Minute + 1)
			require.Equal(t, context.DeadlineExceeded, ctx.Err())
			require.True(t, isClosed(ctx.Done()), "Err is not nil, so Done is closed")
		},
		"late, then cancelled": func(t *testing.T, ctx context.Context, cancel context.CancelFunc) {
			<-time.After(time.Minute + 1)
			cancel()
			require.Equal(t, context.DeadlineExceeded, ctx.Err())
		},
		"cancelled just before": func(t *testing.T, ctx context.Context, cancel context.CancelFunc) {
			<-time.After(time.Minute - 1)
			cancel()
			<-time.After(time.Minute)
			require.Equal(t, context.Canceled, ctx.Err())
		},
	}
}

func contextChildren() map[string]contextCheck {
	return map[string]contextCheck{
		"children end with it": func(t *testing.T, ctx context.Context, cancel context.CancelFunc) {
			child, stop := context.WithCancel(ctx)
			defer stop()
			grandchild, stop := context.WithTimeout(child, time.Hour)
			defer stop()
			cancel()
			<-grandchild.Done()
			require.Equal(t, context.Canceled, grandchild.Err())
			require.Equal(t, "r", link.FromContext(grandchild).Route)
		},
		"children of an ended one": func(t *testing.T, ctx context.Context, cancel context.CancelFunc) {
			cancel()
			child, stop := context.WithCancel(ctx)
			defer stop()
			require.Equal(t, context.Canceled, child.Err())
		},
		"a child's end is its own": func(t *testing.T, ctx context.Context, _ context.CancelFunc) {
			child, stop := context.WithCancel(ctx)
			stop()
			require.Error(t, child.Err())
			require.NoError(t, ctx.Err())
		},
	}
}

func contextFuncs() map[string]contextCheck {
	return map[string]contextCheck{
		"afterwards": func(t *testing.T, ctx context.Context, cancel context.CancelFunc) {
			called := 0
			stop := context.AfterFunc(ctx, func() { called++ })
			stopped := context.AfterFunc(ctx, func() { called += 100 })
			require.True(t, stopped())
			require.False(t, stopped())
			synctest.Wait()
			require.Zero(t, called)
			cancel()
			synctest.Wait()
			require.Equal(t, 1, called)
			require.False(t, stop())
			context.AfterFunc(ctx, func() { called++ })
			synctest.Wait()
			require.Equal(t, 2, called)
		},
		"afterwards, at the deadline": func(t *testing.T, ctx context.Context, _ context.CancelFunc) {
			began := time.Now()
			called := make(chan struct{})
			context.AfterFunc(ctx, func() { close(called) })
			<-called
			require.Equal(t, time.Minute, time.Since(began))
		},
		"afterwards, late, and nobody waits": func(t *testing.T, ctx context.Context, _ context.CancelFunc) {
			<-time.After(time.Minute + 1)
			called := make(chan struct{})
			context.AfterFunc(ctx, func() { close(called) })
			<-called
		},
	}
}

func TestCallContextWithoutADeadline(t *testing.T) {
	t.Parallel()
	for whose, make := range contexts(link.Call{Route: "r"}) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := make()
			defer cancel()
			_, ok := ctx.Deadline()
			require.False(t, ok, whose)
			<-time.After(1000 * time.Hour)
			require.NoError(t, ctx.Err(), whose)
		})
	}
}

// Not parallel: it counts goroutines.
func TestCallContextNeedsNoGoroutines(t *testing.T) {
	c := &callContext{}
	c.init(link.Call{Timeout: time.Hour})
	before := runtime.NumGoroutine()
	for range 1000 {
		_, cancel := context.WithCancel(c)
		defer cancel()
	}
	require.Less(t, runtime.NumGoroutine(), before+100)
	c.cancel(context.Canceled)
}

// The race detector looks on.
func TestCallContextUnderFire(t *testing.T) {
	t.Parallel()
	for range 200 {
		c := &callContext{}
		c.init(link.Call{Timeout: time.Millisecond})
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				switch i % 4 {
				case 0:
					<-c.Done()
				case 1:
					stop := context.AfterFunc(c, func() {})
					stop()
				case 2:
					child, cancel := context.WithCancel(c)
					cancel()
					<-child.Done()
				default:
					_ = c.Err()
					c.cancel(context.Canceled)
				}
			})
		}
		all.Wait()
		require.Error(t, c.Err())
	}
}

// Package context asks for this method; here is what it counts on.
func TestAfterFuncOfACallContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &callContext{}
		c.init(link.Call{})
		var called atomic.Int64
		stop := c.AfterFunc(func() { called.Add(1) })
		require.True(t, stop())
		require.False(t, stop())
		stop = c.AfterFunc(func() { called.Add(10) })
		c.cancel(context.Canceled)
		require.False(t, stop())
		require.False(t, c.AfterFunc(func() { called.Add(100) })())
		synctest.Wait()
		require.EqualValues(t, 110, called.Load())
	})
}

package instance_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
)

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

	registry.Remove("blog", "it is restarting", true)
	_, err = registry.Acquire(t.Context(), "blog", time.Millisecond)
	require.ErrorAs(t, err, &notReady)
	require.True(t, notReady.Coming)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = registry.Acquire(ctx, "blog", time.Hour)
	require.ErrorIs(t, err, context.Canceled)
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

package gateway

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLazyDeadline(t *testing.T) {
	t.Parallel()
	type key struct{}
	parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, 7))
	defer cancel()
	l := &lazyDeadline{Context: parent, limit: 10 * time.Millisecond}
	require.Equal(t, 7, l.Value(key{}))
	require.Nil(t, l.made, "nobody has asked")
	_, has := l.Deadline()
	require.True(t, has)
	require.NoError(t, l.Err())
	<-l.Done()
	require.ErrorIs(t, l.Err(), context.DeadlineExceeded)

	asked := &lazyDeadline{Context: parent, limit: time.Hour}
	child, stop := context.WithCancel(asked)
	defer stop()
	asked.end()
	<-child.Done()
	require.ErrorIs(t, asked.Err(), context.Canceled)

	unasked := &lazyDeadline{Context: parent, limit: time.Hour}
	unasked.end()
	require.ErrorIs(t, unasked.Err(), context.Canceled)
	<-unasked.Done()

	follows := &lazyDeadline{Context: parent, limit: time.Hour}
	cancel()
	require.ErrorIs(t, follows.Err(), context.Canceled)
	follows.end()
}

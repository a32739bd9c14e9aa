package amqp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/amqp"
	"github.com/platformd/platformd/core/internal/storage"
)

func TestTheLedgerIsATable(t *testing.T) {
	t.Parallel()
	store, err := storage.Open(t.Context(), storage.Options{DataDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	var l amqp.Ledger
	for range 2 { // a daemon that starts again finds it
		l, err = amqp.NewLedger(t.Context(), store.Core())
		require.NoError(t, err)
	}
	one := amqp.Entry{Subscription: bus.Subscription{Module: "notify", Pattern: "blog.*"}}
	two := amqp.Entry{Subscription: bus.Subscription{Module: "billing", Pattern: "blog.post.created", Ordered: true}}
	require.NoError(t, l.Put(t.Context(), []amqp.Entry{one, two}))
	one.Going = true
	require.NoError(t, l.Put(t.Context(), []amqp.Entry{one}))
	require.NoError(t, l.Put(t.Context(), nil))
	all, err := l.All(t.Context())
	require.NoError(t, err)
	require.Equal(t, []amqp.Entry{two, one}, all)
	require.NoError(t, l.Remove(t.Context(), []amqp.Entry{two, two}))
	require.NoError(t, l.Remove(t.Context(), nil))
	all, err = l.All(t.Context())
	require.NoError(t, err)
	require.Equal(t, []amqp.Entry{one}, all)
}

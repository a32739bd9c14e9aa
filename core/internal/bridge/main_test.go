package bridge

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/embedded"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/outbox"
)

var cluster pgtest.Cluster

func TestMain(m *testing.M) {
	instancetest.Main(modules())
	goleak.VerifyTestMain(m, goleak.Cleanup(cluster.Exit))
}

// patience bounds every wait for what must come.
const patience = time.Minute

// source is of a module called blog.
const source = "/modules/blog"

// place is an empty database.
type place struct {
	t    *testing.T
	open func() *gorm.DB // a daemon's
}

// onEach runs a test on each database.
func onEach(t *testing.T, test func(p *place)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		db := core(t, storage.Options{DataDir: filepath.Join(t.TempDir(), "data")})
		test(&place{t: t, open: func() *gorm.DB { return db }})
	})
	t.Run("postgresql", func(t *testing.T) { t.Parallel(); test(server(t)) })
}

func server(t *testing.T) *place {
	t.Helper()
	url := cluster.Database(t, pgtest.CreateRole)
	return &place{t: t, open: func() *gorm.DB {
		return core(t, storage.Options{DataDir: t.TempDir(), URL: config.SecretURL(url), MaxConns: 4})
	}}
}

// core opens the core's database for the length of the test.
func core(t *testing.T, o storage.Options) *gorm.DB {
	t.Helper()
	store, err := storage.Open(context.WithoutCancel(t.Context()), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	require.NoError(t, outbox.Create(t.Context(), store.Core()))
	return store.Core()
}

// daemon is one bridge with a bus of its own.
type daemon struct {
	t  *testing.T
	db *gorm.DB
	*Bridge
	letters chan bus.DeadLetter
}

// daemon opens a bus, with which faulty may do something, and makes a bridge, which does not run yet.
func (p *place) daemon(edit ...func(*Deps)) *daemon {
	p.t.Helper()
	db := p.open()
	carrier, err := embedded.New(context.WithoutCancel(p.t.Context()), db, embedded.Options{})
	require.NoError(p.t, err)
	p.t.Cleanup(func() { require.NoError(p.t, carrier.Close()) })
	d := &daemon{t: p.t, db: db, letters: make(chan bus.DeadLetter, 1000)}
	deps := Deps{
		Bus: carrier, Instances: instance.NewRegistry(), Admit: admit,
		Keep:       func(_ context.Context, l bus.DeadLetter) error { d.letters <- l; return nil },
		OpenOutbox: func(ctx context.Context, _ string) (Outbox, error) { return CoreOutbox(ctx, db) },
		Log:        hclog.New(&hclog.LoggerOptions{Output: p.t.Output(), Level: hclog.Trace}),
	}
	for _, e := range edit {
		e(&deps)
	}
	d.Bridge = New(deps)
	return d
}

// admit is of a module that may publish everything except for what is called bad.
func admit(module string, e bus.Event) (bus.Event, error) {
	e.Source = "/modules/" + module
	if e.Type == "blog.bad" {
		return e, fmt.Errorf("module %s may not publish %s", module, e.Type)
	}
	return e, e.Check()
}

// run has the bridge work until it is stopped, or the test ends.
func (d *daemon) run(modules ...Module) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(d.t.Context()))
	var running sync.WaitGroup
	running.Go(func() { d.Run(ctx, modules) })
	stop = func() { cancel(); running.Wait() }
	d.t.Cleanup(stop)
	return stop
}

var (
	blog   = Module{Name: "blog", Outbox: true}
	wanted = bus.Subscription{Module: "reader", Pattern: "blog.*"}
)

// receive declares a subscription that no bridge serves, and hands over the ID of each event that comes to it.
func (d *daemon) receive(s bus.Subscription) <-chan string {
	d.t.Helper()
	require.NoError(d.t, d.Bus.Declare(d.t.Context(), s.Module, []bus.Subscription{s}))
	ids := make(chan string, 10_000)
	ctx, cancel := context.WithCancel(context.WithoutCancel(d.t.Context()))
	var consuming sync.WaitGroup
	consuming.Go(func() {
		err := d.Bus.Consume(ctx, s, bus.Consumer{Handle: func(_ context.Context, one bus.Delivery) bus.Verdict {
			ids <- one.Event.ID
			return bus.Ack()
		}})
		if err != nil {
			d.t.Error(err)
		}
	})
	d.t.Cleanup(func() { cancel(); consuming.Wait() })
	return ids
}

// next is what comes next.
func next[T any](t *testing.T, from <-chan T) (value T) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case value = <-from:
	case <-timeout.C:
		require.FailNow(t, "nothing came")
	}
	return value
}

// requireIDs waits for events with these IDs, in any order unless they have one.
func requireIDs(t *testing.T, from <-chan string, ids ...string) {
	t.Helper()
	got := make([]string, len(ids))
	for i := range got {
		got[i] = next(t, from)
	}
	require.Equal(t, ids, got)
}

func event(id, key string) bus.Event {
	return bus.Event{ID: id, Type: "blog.made", Version: 1, Key: key, Time: time.Unix(1, 0).UTC(), Data: []byte(`{}`)}
}

func events(n int, key string) (all []bus.Event, ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s-%04d", key, i))
		all = append(all, event(ids[i], key))
	}
	return all, ids
}

// put puts events into the outbox.
func put(t *testing.T, db *gorm.DB, all ...bus.Event) {
	t.Helper()
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		for _, e := range all {
			if err := outbox.Add(t.Context(), tx, e); err != nil {
				return err
			}
		}
		return nil
	}))
}

// left are the IDs of what is in the outbox.
func left(t *testing.T, db *gorm.DB) []string {
	t.Helper()
	rows, err := outbox.Next(t.Context(), db, 1000)
	require.NoError(t, err)
	ids := []string{}
	for _, r := range rows {
		ids = append(ids, r.Event.ID)
	}
	return ids
}

func awaitEmpty(t *testing.T, db *gorm.DB) {
	t.Helper()
	require.Eventually(t, func() bool { return len(left(t, db)) == 0 }, patience, 10*time.Millisecond)
}

// faulty is a bus that does not do all that it is asked to.
type faulty struct {
	bus.Bus
	publish func(ctx context.Context, events []bus.Event, really func(context.Context, []bus.Event) []error) []error
	declare func(ctx context.Context, really func(context.Context) error) error
}

// Publish implements bus.Bus.
func (f *faulty) Publish(ctx context.Context, events []bus.Event) []error {
	if f.publish == nil {
		return f.Bus.Publish(ctx, events)
	}
	return f.publish(ctx, events, f.Bus.Publish)
}

// Declare implements bus.Bus.
func (f *faulty) Declare(ctx context.Context, module string, all []bus.Subscription) error {
	really := func(ctx context.Context) error { return f.Bus.Declare(ctx, module, all) }
	if f.declare == nil {
		return really(ctx)
	}
	return f.declare(ctx, really)
}

// lines is a log of which is counted what it says.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: l, Level: hclog.Trace})
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

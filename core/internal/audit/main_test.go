package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/link"
)

var cluster pgtest.Cluster

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(cluster.Exit)) }

// start is where the clocks of the tests begin.
var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// place is an empty database. Each storage that is opened there is one more daemon's.
type place struct {
	open func(t *testing.T) *storage.Storage
	at   atomic.Pointer[time.Time] // the daemons' clock; nil: that of the machine
}

func (p *place) move(d time.Duration) {
	at := p.now().Add(d)
	p.at.Store(&at)
}

func (p *place) now() time.Time {
	if at := p.at.Load(); at != nil {
		return *at
	}
	return time.Now()
}

// onEach runs a test on each backend.
func onEach(t *testing.T, test func(t *testing.T, p *place)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "data")
		test(t, newPlace(func() storage.Options { return storage.Options{DataDir: dir} }))
	})
	t.Run("postgresql", func(t *testing.T) {
		t.Parallel()
		url := cluster.Database(t, pgtest.CreateRole)
		test(t, newPlace(func() storage.Options {
			return storage.Options{DataDir: t.TempDir(), URL: config.SecretURL(url), MaxConns: 3}
		}))
	})
}

func newPlace(options func() storage.Options) *place {
	p := &place{open: func(t *testing.T) *storage.Storage {
		t.Helper()
		store, err := storage.Open(t.Context(), options())
		require.NoError(t, err)
		t.Cleanup(func() { _ = store.Close() }) // a test may have closed it
		return store
	}}
	p.at.Store(&start)
	return p
}

// idle is a service whose Run does not run.
func (p *place) idle(t *testing.T, o Options) (*Service, *storage.Storage) {
	t.Helper()
	store := p.open(t)
	s, err := New(t.Context(), store.Core(), o)
	require.NoError(t, err)
	s.now = p.now
	s.wait, s.commitWait = time.Minute, time.Minute // the machine may do much else
	return s, store
}

// service is one whose Run runs until the test ends.
func (p *place) service(t *testing.T) *Service {
	t.Helper()
	s, _ := p.idle(t, Options{})
	run(t, s)
	return s
}

// run returns what ends Run, and waits for it.
func run(t *testing.T, s *Service) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func entry(n int) Entry {
	return Entry{
		Actor: link.Principal{Kind: "user", ID: fmt.Sprint("u", n), Name: "Ada <3"}, Via: "blog", Action: "post.create",
		Resource: fmt.Sprint("blog/post/", n), Outcome: Done, RequestID: fmt.Sprint("r", n), TraceID: "t", Address: "192.0.2.1",
		Details: json.RawMessage(fmt.Sprintf(`{"n": %d, "html": "<b>&amp;"}`, n)),
	}
}

// write writes n entries, at once.
func write(t *testing.T, s *Service, n int) {
	t.Helper()
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = s.Write(t.Context(), entry(i)) })
	}
	all.Wait()
	require.NoError(t, errors.Join(errs...))
}

// verified is the report of a chain that is right.
func verified(t *testing.T, s *Service) Report {
	t.Helper()
	report, err := s.Verify(t.Context(), Expect{})
	require.NoError(t, err)
	require.Nil(t, report.Broken)
	require.True(t, report.OK)
	return report
}

func find(t *testing.T, s *Service, f Filter) []Row {
	t.Helper()
	rows, err := s.Search(t.Context(), f)
	require.NoError(t, err)
	return rows
}

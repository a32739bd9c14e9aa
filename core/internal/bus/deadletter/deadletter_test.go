package deadletter

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/storage"
)

var cluster pgtest.Cluster

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(cluster.Exit)) }

func onEach(t *testing.T, test func(t *testing.T, s *Store)) {
	t.Helper()
	run := func(name string, options func(t *testing.T) storage.Options) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := storage.Open(t.Context(), options(t))
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			s, err := New(t.Context(), store.Core())
			require.NoError(t, err)
			test(t, s)
		})
	}
	run("sqlite", func(t *testing.T) storage.Options {
		return storage.Options{DataDir: filepath.Join(t.TempDir(), "data")}
	})
	run("postgresql", func(t *testing.T) storage.Options {
		url := cluster.Database(t, pgtest.CreateRole)
		return storage.Options{DataDir: t.TempDir(), URL: config.SecretURL(url), MaxConns: 3}
	})
}

// letter is the nth one: of two subscriptions, in turns.
func letter(n int) bus.DeadLetter {
	at := time.Date(2026, 5, 1, 12, 0, n, 1000, time.UTC)
	return bus.DeadLetter{
		ID: fmt.Sprintf("l%02d", n), Subscription: []string{"notify:blog.*", "billing:blog.post.created"}[n%2], Attempts: 5, At: at,
		Failure: bus.Failure{Reason: bus.ReasonAttempts, Error: "no \"luck\""},
		Event: bus.Event{
			ID: fmt.Sprint("e", n), Source: "/modules/blog", Type: "blog.post.created", Version: 2, Subject: "post/ü", Key: "k",
			Time: at, ContentType: "application/json", Data: []byte(`{"n":1}`), TraceParent: "00-1-2-01",
		},
	}
}

func fill(t *testing.T, s *Store, n int) {
	t.Helper()
	for i := range n {
		require.NoError(t, s.Keep(t.Context(), letter(i)))
	}
}

func TestALetterIsKept(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *Store) {
		require.NoError(t, s.Keep(t.Context(), letter(1)))
		other := letter(1)
		other.Attempts = 7
		require.NoError(t, s.Keep(t.Context(), other), "it comes again if the daemon was killed")
		got, err := s.Get(t.Context(), "l01")
		require.NoError(t, err)
		require.Equal(t, letter(1), got)
		_, err = s.Get(t.Context(), "l02")
		require.ErrorIs(t, err, ErrNotFound)
	})
}

// What came may be no event at all.
func TestNonsenseIsKept(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *Store) {
		bad := "\x00\xff"
		require.NoError(t, s.Keep(t.Context(), bus.DeadLetter{
			ID: "x", Subscription: bad, Failure: bus.Failure{Reason: bus.ReasonMalformed, Error: bad},
			Event: bus.Event{ID: bad, Source: bad, Type: bad, Subject: bad, Data: []byte(bad)},
		}))
		got, err := s.Get(t.Context(), "x")
		require.NoError(t, err)
		require.Equal(t, []byte(bad), got.Event.Data)
	})
}

func TestListPurgeAndCount(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *Store) {
		fill(t, s, 7)
		var seen []string
		for after := ""; ; {
			page, err := s.List(t.Context(), Filter{}, 3, after)
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			for _, l := range page {
				seen = append(seen, l.ID)
			}
			after = page[len(page)-1].ID
		}
		require.Equal(t, []string{"l06", "l05", "l04", "l03", "l02", "l01", "l00"}, seen)
		_, err := s.List(t.Context(), Filter{}, 3, "gone")
		require.ErrorIs(t, err, ErrNotFound)
		for _, c := range []struct {
			filter Filter
			want   int64
		}{
			{Filter{}, 7},
			{Filter{Module: "billing"}, 3},
			{Filter{Subscription: "notify:blog.*", Type: "blog.post.created", Reason: bus.ReasonAttempts}, 4},
			{Filter{Type: "' OR 1=1 --"}, 0},
			{Filter{IDs: []string{"l01", "l02", "l99"}}, 2},
			{Filter{IDs: []string{}}, 0},
		} {
			n, err := s.Count(t.Context(), c.filter)
			require.NoError(t, err)
			require.Equal(t, c.want, n, "%+v", c.filter)
		}
		n, err := s.Purge(t.Context(), Filter{Module: "billing"})
		require.NoError(t, err)
		require.EqualValues(t, 3, n)
		n, err = s.Purge(t.Context(), Filter{})
		require.NoError(t, err)
		require.EqualValues(t, 4, n)
	})
}

func TestRetry(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *Store) {
		fill(t, s, 2*page+1)
		var got []string
		n, err := s.Retry(t.Context(), Filter{Module: "notify"}, func(ctx context.Context, sub string, e bus.Event) error {
			require.Equal(t, "notify:blog.*", sub)
			got = append(got, e.ID)
			again := letter(0)
			again.ID, again.At = "again"+e.ID, time.Now().Add(time.Minute) // it dies once more
			return s.Keep(ctx, again)
		})
		require.NoError(t, err)
		require.Equal(t, page+1, n)
		require.Equal(t, []string{"e0", "e2", "e4"}, got[:3], "oldest first")

		n, err = s.Retry(t.Context(), Filter{Module: "billing"}, func(_ context.Context, _ string, e bus.Event) error {
			if e.ID == "e5" {
				return fmt.Errorf("not now: %w", bus.ErrUnavailable)
			}
			return nil
		})
		require.ErrorIs(t, err, bus.ErrUnavailable)
		require.Equal(t, 2, n)
		left, err := s.Count(t.Context(), Filter{Module: "billing"})
		require.NoError(t, err)
		require.EqualValues(t, page-2, left)
	})
}

// TestRetryGoesOn behind letters that cannot be delivered, also when they fill whole pages.
func TestRetryGoesOn(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *Store) {
		fill(t, s, 3*page)
		malformed, tried := errors.New("malformed"), 0
		n, err := s.Retry(t.Context(), Filter{}, func(_ context.Context, _ string, e bus.Event) error {
			tried++
			switch {
			case e.ID == "e7":
				return malformed
			case tried <= 2*page:
				return bus.ErrUnroutable
			}
			return nil
		})
		require.ErrorIs(t, err, malformed)
		require.ErrorIs(t, err, bus.ErrUnroutable)
		require.Equal(t, page, n)
		require.Equal(t, 3*page, tried)
		var undelivered *UndeliveredError
		require.ErrorAs(t, err, &undelivered)
		require.Equal(t, 2*page, undelivered.Letters())
		require.Len(t, undelivered.Reasons, 2)
		require.Equal(t, 2*page-1, undelivered.Reasons[0].Letters)
		require.Equal(t, bus.ErrUnroutable, undelivered.Reasons[0].Err)
		left, err := s.Count(t.Context(), Filter{})
		require.NoError(t, err)
		require.EqualValues(t, 2*page, left, "they stay")
	})
}

func TestWhatIsAModules(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *Store) {
		fill(t, s, 4) // two of notify, two of billing, all about the blog's events
		refused := letter(4)
		refused.Subscription = ""
		require.NoError(t, s.Keep(t.Context(), refused))
		for module, want := range map[string]int64{"blog": 1, "notify": 2, "absent": 0} {
			for _, n := range []int64{want, 0} {
				count, err := s.Purge(t.Context(), Filter{Owner: module})
				require.NoError(t, err)
				require.Equal(t, n, count, module)
			}
		}
		count, err := s.Count(t.Context(), Filter{})
		require.NoError(t, err)
		require.EqualValues(t, 2, count)
	})
}

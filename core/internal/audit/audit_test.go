package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/problem"
)

func TestARow(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := p.service(t)
		require.True(t, verified(t, s).OK, "nothing is a chain, too")
		require.NoError(t, s.Write(t.Context(), entry(7)))
		rows := find(t, s, Filter{})
		require.Len(t, rows, 1)
		e := entry(7)
		require.Equal(t, Row{
			Seq: 1, At: start, Actor: e.Actor, Via: "blog", Action: "post.create", Resource: "blog/post/7", Outcome: Done,
			RequestID: "r7", TraceID: "t", Address: "192.0.2.1", Details: json.RawMessage(`{"n":7,"html":"<b>&amp;"}`), Version: 1,
			Hash: rows[0].Hash,
		}, rows[0])
		require.NoError(t, s.Write(t.Context(), Entry{}))
		rows = find(t, s, Filter{Limit: 1})
		require.Equal(t, rows[0].PrevHash, find(t, s, Filter{OldestFirst: true})[0].Hash)
		require.Equal(t, []string{"actor_kind", "action", "outcome"}, rows[0].Cleaned)
		require.Equal(t, Unknown, rows[0].Outcome)
		report := verified(t, s)
		require.Equal(t, Report{Rows: 2, FirstSeq: 1, LastSeq: 2, Head: Mark{2, rows[0].Hash}, OK: true}, report)
	})
}

func TestEightDaemonsMakeOneChain(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		const daemons, each = 8, 200
		services := make([]*Service, daemons)
		for i := range services {
			services[i] = p.service(t)
		}
		var all sync.WaitGroup
		for _, s := range services {
			all.Go(func() { write(t, s, each) })
		}
		all.Wait()
		report := verified(t, services[0])
		require.EqualValues(t, daemons*each, report.Rows)
		require.EqualValues(t, 1, report.FirstSeq)
		require.EqualValues(t, daemons*each, report.LastSeq)
	})
}

// What was acknowledged is there, whenever the daemon ends, and however.
func TestAnEndAmidWritesLosesNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		for round := range 6 {
			s, store := p.idle(t, Options{})
			stop := run(t, s)
			var mu sync.Mutex
			acknowledged := make(map[string]bool)
			enough := make(chan struct{})
			var all sync.WaitGroup
			for i := range 50 {
				all.Go(func() {
					for n := range 1000 {
						e := entry(i*1000 + n)
						e.RequestID = fmt.Sprintf("%d/%s", round, e.RequestID)
						if s.Write(t.Context(), e) != nil {
							return
						}
						mu.Lock()
						acknowledged[e.RequestID] = true
						if len(acknowledged) == 100 {
							close(enough)
						}
						mu.Unlock()
					}
				})
			}
			<-enough
			if round%2 == 0 {
				require.NoError(t, store.Close()) // under the writer's hands
			}
			stop()
			all.Wait()
			other, _ := p.idle(t, Options{})
			verified(t, other)
			found := make(map[string]bool)
			_, err := walk(other.db, func(r *row) *Break { found[r.RequestID] = true; return nil }, func() bool { return true })
			require.NoError(t, err)
			for id := range acknowledged {
				require.True(t, found[id], id)
			}
		}
	})
}

// What is gathered is written before what came after it.
func TestRowsAreInTheOrderOfTheirComing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := p.service(t)
		for n := range 30 {
			s.TryWrite(entry(2 * n))
			if n%10 == 9 {
				require.NoError(t, s.Write(t.Context(), entry(2*n+1)))
			}
		}
		var came []string
		for _, row := range find(t, s, Filter{OldestFirst: true}) {
			came = append(came, row.RequestID)
		}
		require.Len(t, came, 33)
		require.Equal(t, []string{"r18", "r19", "r20"}, came[9:12])
	})
}

func TestAnEndWithoutADatabaseAnswersAll(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s, store := p.idle(t, Options{})
		s.wait = time.Minute
		const many = 2*batchSize + 1
		errs := make(chan error, many)
		for range many {
			go func() { errs <- s.Write(t.Context(), entry(1)) }()
		}
		require.Eventually(t, func() bool { return len(s.writes) == many }, 20*time.Second, time.Millisecond)
		require.NoError(t, store.Close())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, s.Run(ctx))
		for range many {
			require.Error(t, <-errs)
		}
	})
}

func TestAFlood(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		const flood = 3 * queueSize
		s, _ := p.idle(t, Options{})
		denied := Entry{Actor: entry(0).Actor, Action: "route.call", Outcome: Denied}
		for range flood {
			s.TryWrite(denied) // would hang here if it waited
		}
		run(t, s)
		require.NoError(t, s.Write(t.Context(), entry(1)), "a flood keeps nobody else out")
		require.Less(t, find(t, s, Filter{RequestID: "r1"})[0].Seq, int64(2*batchSize+1), "nor waiting")
		var told []Row
		require.Eventually(t, func() bool {
			told = find(t, s, Filter{Action: ActionDropped})
			return len(told) > 0
		}, 20*time.Second, 10*time.Millisecond)
		require.JSONEq(t, fmt.Sprintf(`{"count":"%d"}`, flood-queueSize), string(told[0].Details))
		require.Equal(t, KindCore, told[0].Actor.Kind)
		require.Eventually(t, func() bool { return verified(t, s).Rows == queueSize+2 }, 20*time.Second, 10*time.Millisecond)
	})
}

func TestFloodsBesideWritesAreCounted(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s, _ := p.idle(t, Options{})
		stop := run(t, s)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 2000 {
					s.TryWrite(Entry{Action: "route.call", Outcome: Denied})
				}
			})
		}
		all.Go(func() { write(t, s, 100) })
		all.Wait()
		stop()
		var kept, dropped int64
		_, err := walk(s.db, func(r *row) *Break {
			switch r.Action {
			case "route.call":
				kept++
			case ActionDropped:
				var details struct {
					Count int64 `json:"count,string"`
				}
				require.NoError(t, json.Unmarshal([]byte(r.Details), &details))
				dropped += details.Count
			}
			return nil
		}, func() bool { return true })
		require.NoError(t, err)
		require.EqualValues(t, 8000, kept+dropped)
		verified(t, s)
	})
}

func TestWriteIsBounded(t *testing.T) {
	t.Parallel()
	p := newPlace(func() storage.Options { return storage.Options{DataDir: filepath.Join(t.TempDir(), "data")} })
	s, _ := p.idle(t, Options{})
	s.wait = 20 * time.Millisecond
	for range queueSize { // nobody writes
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, s.Write(ctx, entry(0)), ErrNotWritten)
	}
	for len(s.writes) < queueSize {
		s.writes <- &pending{done: make(chan error, 1)}
	}
	err := s.Write(t.Context(), entry(1))
	require.ErrorIs(t, err, ErrNotWritten)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "(fix: ")
	require.LessOrEqual(t, len(s.writes), queueSize)
}

// Who was told that there is no row must not find one later.
func TestWhoDidNotWaitGetsNoRow(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s, _ := p.idle(t, Options{})
		s.wait = 20 * time.Millisecond
		require.ErrorIs(t, s.Write(t.Context(), entry(1)), ErrNotWritten)
		s.wait = time.Minute
		run(t, s)
		require.NoError(t, s.Write(t.Context(), entry(2)))
		require.Equal(t, "r2", find(t, s, Filter{})[0].RequestID)
		require.EqualValues(t, 1, verified(t, s).Rows)
	})
}

func TestTheEndOfRun(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s, _ := p.idle(t, Options{})
		for range 300 {
			s.TryWrite(entry(1))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, s.Run(ctx))
		require.EqualValues(t, 300, verified(t, s).Rows, "what waited is written")
		require.ErrorIs(t, s.Write(t.Context(), entry(1)), ErrClosed)
		require.ErrorContains(t, s.Run(ctx), "twice")
	})
}

func TestTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	var own pgtest.Cluster
	t.Cleanup(func() { require.NoError(t, own.Stop()) })
	url := own.Database(t, pgtest.CreateRole)
	p := newPlace(func() storage.Options { return storage.Options{DataDir: t.TempDir(), URL: config.SecretURL(url)} })
	s, _ := p.idle(t, Options{})
	s.wait, s.commitWait = writeWait, commitWait
	run(t, s)
	write(t, s, 10)
	own.Down(t)
	for range 3 {
		err := s.Write(t.Context(), entry(1))
		require.Error(t, err)
		require.ErrorContains(t, err, "(fix: ")
	}
	s.TryWrite(entry(2))
	require.Eventually(t, func() bool { return s.dropped.Load() == 1 }, 10*time.Second, 10*time.Millisecond)
	own.Require(t)
	require.Eventually(t, func() bool { return s.Write(t.Context(), entry(3)) == nil }, 20*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		rows, err := s.Search(t.Context(), Filter{Action: ActionDropped})
		return err == nil && len(rows) == 1
	}, 20*time.Second, 10*time.Millisecond)
	require.GreaterOrEqual(t, verified(t, s).Rows, int64(12))
}

// A session that holds the head keeps writers waiting, and no longer than they want to.
func TestTheHeadIsHeld(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s, _ := p.idle(t, Options{})
		s.commitWait = 200 * time.Millisecond
		run(t, s)
		other := p.open(t).Core().WithContext(t.Context()).Begin()
		_, err := lockHead(other)
		require.NoError(t, err)
		began := time.Now()
		require.ErrorIs(t, s.Write(t.Context(), entry(1)), ErrNotWritten)
		require.Less(t, time.Since(began), 30*time.Second)
		require.NoError(t, other.Rollback().Error)
		require.NoError(t, s.Write(t.Context(), entry(2)))
		require.EqualValues(t, 1, verified(t, s).Rows)
	})
}

func TestSearch(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := p.service(t)
		for i := range 4 {
			for _, action := range []string{"auth.login", "auth.logout", "authz.grant", "Auth.login"} {
				e := entry(i)
				e.Action = action
				if i == 3 {
					e.Via, e.Outcome = "", Denied
				}
				require.NoError(t, s.Write(t.Context(), e))
				p.move(time.Minute)
			}
		}
		for name, test := range map[string]struct {
			filter Filter
			want   string
		}{
			"all":           {Filter{}, "16 15 14 13 12 11 10 9 8 7 6 5 4 3 2 1"},
			"actor":         {Filter{Actor: "u1"}, "8 7 6 5"},
			"actor by name": {Filter{Actor: "Ada <3", Limit: 2}, "16 15"},
			"via":           {Filter{Via: "blog", OldestFirst: true, Limit: 3}, "1 2 3"},
			"action":        {Filter{Action: "auth.login"}, "13 9 5 1"},
			"prefix":        {Filter{Action: "auth."}, "14 13 10 9 6 5 2 1"},
			"shorter":       {Filter{Action: "auth", OldestFirst: true}, "1 2 3 5 6 7 9 10 11 13 14 15"},
			"case":          {Filter{Action: "Auth"}, "16 12 8 4"},
			"no pattern":    {Filter{Action: "%"}, ""},
			"resource":      {Filter{Resource: "blog/post/2"}, "12 11 10 9"},
			"outcome":       {Filter{Outcome: Denied}, "16 15 14 13"},
			"request":       {Filter{RequestID: "r0"}, "4 3 2 1"},
			"time":          {Filter{From: start.Add(4 * time.Minute), To: start.Add(6 * time.Minute)}, "6 5"},
			"after":         {Filter{AfterSeq: 4}, "3 2 1"},
			"after, oldest": {Filter{AfterSeq: 14, OldestFirst: true}, "15 16"},
			"both":          {Filter{Action: "auth.login", Outcome: Denied}, "13"},
			"hostile":       {Filter{Actor: "' OR 1=1 --"}, ""},
		} {
			var got []string
			for _, row := range find(t, s, test.filter) {
				got = append(got, fmt.Sprint(row.Seq))
			}
			require.Equal(t, test.want, strings.Join(got, " "), name)
		}
		for _, limit := range []int{-1, MaxLimit + 1} {
			_, err := s.Search(t.Context(), Filter{Limit: limit})
			var refusal *problem.Problem
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, 400, refusal.Status)
			require.Contains(t, refusal.Detail, "fix: ")
		}
	})
}

func TestTail(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s, other := p.service(t), p.service(t)
		write(t, s, 1500)
		ctx, cancel := context.WithCancel(t.Context())
		rows := make(chan Row)
		done := make(chan error, 1)
		go func() {
			done <- s.Tail(ctx, 10, func(row Row) error { rows <- row; return nil })
		}()
		for seq := int64(11); seq <= 1510; seq++ {
			if seq > 1500 {
				writer := s
				if seq%2 == 0 {
					writer = other
				}
				require.NoError(t, writer.Write(t.Context(), entry(1)))
			}
			require.Equal(t, seq, (<-rows).Seq)
		}
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)

		enough := errors.New("enough")
		require.ErrorIs(t, s.Tail(t.Context(), 0, func(Row) error { return enough }), enough)
		head, err := s.Head(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1510, head.Seq)
	})
}

// A tail of this daemon's rows does not wait for the next look at the database.
func TestTailIsWoken(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := p.service(t)
		seen := make(chan int64)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Tail(ctx, 0, func(row Row) error { seen <- row.Seq; return nil }) }()
		began := time.Now()
		const many = 60 // a minute, if each waited for a look
		for range many {
			require.NoError(t, s.Write(t.Context(), entry(1)))
			<-seen
		}
		require.Less(t, time.Since(began), many*pollEvery/2)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

func TestOutagesAreLoggedOnce(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	o := &outage{log: hclog.New(&hclog.LoggerOptions{Output: &out})}
	for _, err := range []error{nil, errors.New("a"), errors.New("b"), nil, errors.New("c")} {
		o.tell(err)
	}
	require.Equal(t, 2, strings.Count(out.String(), "audit rows cannot be written"))
}

func TestANewDatabaseIsMadeByEight(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		errs := make([]error, 8)
		var all sync.WaitGroup
		for i := range errs {
			store := p.open(t)
			all.Go(func() { _, errs[i] = New(t.Context(), store.Core(), Options{}) })
		}
		all.Wait()
		require.NoError(t, errors.Join(errs...))
		s, _ := p.idle(t, Options{})
		verified(t, s)
		_, err := New(t.Context(), s.db, Options{Retention: time.Hour})
		require.ErrorContains(t, err, "fix: ")
	})
}

// random is as good as any seed; what fails says which it was.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

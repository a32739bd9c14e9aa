package db_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/db/outbox"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

// told is a core that hears of outboxes.
type told struct {
	grpc.ClientConnInterface
	calls atomic.Int64
	heard chan struct{} // has a value for each call, as far as there is room
	block func(ctx context.Context) error
}

// Invoke implements grpc.ClientConnInterface.
//
//nolint:revive // argument-limit: gRPC's signature
func (c *told) Invoke(ctx context.Context, method string, _, _ any, _ ...grpc.CallOption) error {
	if method != "/platform.core.v1.Events/Relay" {
		return errors.New(method)
	}
	c.calls.Add(1)
	select {
	case c.heard <- struct{}{}:
	default:
	}
	if c.block != nil {
		return c.block(ctx)
	}
	return nil
}

// shop is a module with events at work.
type shop struct {
	*gorm.DB
	core     *told
	database pluginapi.Database
}

// eachShop runs test on each backend, with a table blog_effects.
func eachShop(t *testing.T, test func(t *testing.T, s shop)) {
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		up(t, d.Migrations, step("0001_effects", "CREATE TABLE blog_effects (n varchar(100))"))
		d.Work.Events = true
		require.NoError(t, d.Outbox.Create(t.Context()))
		require.NoError(t, d.Outbox.Create(t.Context()), "they are there")
		test(t, openShop(t, d.Work, &told{heard: make(chan struct{}, 1000)}))
	})
}

func openShop(t *testing.T, database pluginapi.Database, core *told) shop {
	t.Helper()
	gdb, err := db.Open(t.Context(), pluginapi.NewCore(pluginapi.Core{Name: "blog", Database: database}, nil, core))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close(gdb)) })
	return shop{DB: gdb, core: core, database: database}
}

func (s shop) waiting(t *testing.T) []outbox.Row {
	t.Helper()
	rows, err := outbox.Next(t.Context(), s.DB, 1000)
	require.NoError(t, err)
	return rows
}

func (s shop) effects(t *testing.T) (n int64) {
	t.Helper()
	require.NoError(t, s.Table("blog_effects").Count(&n).Error)
	return n
}

func (s shop) hear(t *testing.T) {
	t.Helper()
	select {
	case <-s.core.heard:
	case <-time.After(30 * time.Second):
		t.Fatal("the core was not told")
	}
}

func effect(tx *gorm.DB) error { return tx.Exec("INSERT INTO blog_effects VALUES ('x')").Error }

var created = pluginapi.Event{Type: "blog.post.created", Version: 1, Key: "7", Subject: "post/7", Data: []byte(`{"id":7}`)}

func TestWhatIsCommittedIsPublished(t *testing.T) {
	t.Parallel()
	eachShop(t, func(t *testing.T, s shop) {
		ctx := link.With(t.Context(), &link.Call{TraceParent: "00-trace"})
		require.NoError(t, s.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			require.NoError(t, db.Publish(tx, created))
			require.NoError(t, db.Publish(tx.Where("n = 1").Limit(1).Session(&gorm.Session{PrepareStmt: true}), created))
			return effect(tx)
		}))
		s.hear(t)
		rows := s.waiting(t)
		require.Len(t, rows, 2)
		got, want := rows[0].Event, created
		require.NotEmpty(t, got.ID)
		require.NotEqual(t, got.ID, rows[1].Event.ID)
		require.WithinDuration(t, time.Now(), got.Time, time.Minute)
		want.ID, want.Time, want.TraceParent = got.ID, got.Time, "00-trace"
		require.Equal(t, want, got)
		require.EqualValues(t, 1, s.effects(t))

		whole := pluginapi.Event{
			ID: "1", Type: "blog.post.seen", Version: 2, Time: time.Date(2026, 5, 4, 3, 2, 1, 5000, time.UTC), ContentType: "text/plain",
			TraceParent: "mine", Data: []byte{0, 255},
		}
		tx := s.WithContext(ctx).Begin()
		require.NoError(t, db.Publish(tx, whole))
		require.NoError(t, tx.Commit().Error)
		require.Equal(t, whole, s.waiting(t)[2].Event)
	})
}

func TestWhatIsNotCommittedIsNotPublished(t *testing.T) {
	t.Parallel()
	eachShop(t, func(t *testing.T, s shop) {
		broken := errors.New("broken")
		require.ErrorIs(t, s.Transaction(func(tx *gorm.DB) error {
			return errors.Join(db.Publish(tx, created), broken)
		}), broken)
		require.Panics(t, func() {
			_ = s.Transaction(func(tx *gorm.DB) error {
				require.NoError(t, db.Publish(tx, created))
				panic("broken")
			})
		})
		ctx, cancel := context.WithCancel(t.Context())
		require.Error(t, s.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			require.NoError(t, db.Publish(tx, created))
			cancel()
			return nil
		}))
		require.NoError(t, s.Transaction(func(tx *gorm.DB) error {
			inner := tx.Transaction(func(tx *gorm.DB) error { return errors.Join(db.Publish(tx, created), broken) })
			require.ErrorIs(t, inner, broken)
			return nil
		}))
		require.Empty(t, s.waiting(t))
	})
}

func TestWhereNothingCanBePublished(t *testing.T) {
	t.Parallel()
	eachShop(t, func(t *testing.T, s shop) {
		require.ErrorContains(t, db.Publish(s.DB, created), "(fix: publish inside of db.Transaction")
		require.NoError(t, s.Transaction(func(tx *gorm.DB) error {
			for _, bad := range []pluginapi.Event{
				{}, {Type: "blog", Version: 1}, {Type: "blog.post.created"}, {Type: "blog.post.created", Version: 1, Key: "\xff"},
				{Type: "blog.post.created", Version: 1, Data: make([]byte, 256<<10+1)},
			} {
				require.ErrorContains(t, db.Publish(tx, bad), "(fix: ")
			}
			return nil
		}))
		require.Empty(t, s.waiting(t))
		require.Zero(t, s.core.calls.Load())
	})
	plain := open(t, newDatabase(t))
	require.ErrorContains(t, db.Publish(plain, created), "this database is not for events (fix: ")
	require.ErrorContains(t, db.Once(t.Context(), plain, created, effect), "this database is not for events (fix: ")
}

// TestAKeysOrderIsThatOfItsCommits has a relay look all the time, while transactions that published wait before they commit.
func TestAKeysOrderIsThatOfItsCommits(t *testing.T) {
	t.Parallel()
	const writers, each, keys = 3, 40, 3 // as many writers as a process has connections
	eachShop(t, func(t *testing.T, s shop) {
		relay := openShop(t, s.database, s.core)
		var writing sync.WaitGroup
		var failed atomic.Value
		for range writers {
			writing.Go(func() {
				for range each {
					if err := publishSlowly(t.Context(), s.DB, fmt.Sprint(rand.N(keys))); err != nil {
						failed.Store(err)
					}
				}
			})
		}
		done := make(chan struct{})
		go func() { defer close(done); writing.Wait() }()
		last, seen := map[string]int64{}, 0
		for ended := false; !ended; {
			select {
			case <-done:
				ended = true // one more look
			default:
			}
			for _, row := range relay.waiting(t) {
				require.Greater(t, row.Seq, last[row.Event.Key], "an event of key %s was seen too late", row.Event.Key)
				last[row.Event.Key] = row.Seq
				seen++
				require.NoError(t, outbox.Remove(t.Context(), relay.DB, []int64{row.Seq}))
			}
		}
		require.Nil(t, failed.Load())
		require.Equal(t, writers*each, seen)
	})
}

func publishSlowly(ctx context.Context, conn *gorm.DB, key string) error {
	return conn.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		e := created
		e.Key = key
		if err := db.Publish(tx, e); err != nil {
			return err
		}
		pause, cancel := context.WithTimeout(ctx, time.Duration(rand.N(3_000))*time.Microsecond)
		defer cancel()
		<-pause.Done()
		return nil
	})
}

func TestWhoPublishesForAnotherKeyDoesNotWait(t *testing.T) {
	t.Parallel()
	s := dbtest.PostgreSQL(t, "blog")
	s.Work.Events = true
	require.NoError(t, s.Outbox.Create(t.Context()))
	open := openShop(t, s.Work, &told{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	first := open.WithContext(ctx).Begin()
	require.NoError(t, db.Publish(first, created))
	other := created
	other.Key = "8"
	require.NoError(t, open.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return db.Publish(tx, other) }))
	other.Key = ""
	require.NoError(t, open.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return db.Publish(tx, other) }))
	require.NoError(t, first.Commit().Error)
	require.Len(t, open.waiting(t), 3)
}

func TestTheCoreIsToldAfterTheCommit(t *testing.T) {
	t.Parallel()
	eachShop(t, func(t *testing.T, s shop) {
		require.NoError(t, s.Transaction(func(tx *gorm.DB) error {
			require.NoError(t, db.Publish(tx, created))
			require.NoError(t, db.Publish(tx, created))
			require.Zero(t, s.core.calls.Load())
			return nil
		}))
		s.hear(t)
		require.NoError(t, s.Transaction(effect))
		require.NoError(t, s.Transaction(func(tx *gorm.DB) error { return db.Publish(tx, created) }))
		s.hear(t)
		require.NoError(t, db.Close(s.DB))
		require.EqualValues(t, 2, s.core.calls.Load(), "once for each transaction that published")
	})
}

// TestACommitWaitsForNobody has a core that does not answer.
func TestACommitWaitsForNobody(t *testing.T) {
	t.Parallel()
	eachShop(t, func(t *testing.T, s shop) {
		const commits = 50
		answer, left := make(chan struct{}), make(chan error, 1)
		s.core.block = func(ctx context.Context) error {
			select {
			case <-answer:
				return errors.New("not now")
			case <-ctx.Done():
				left <- ctx.Err()
				return ctx.Err()
			}
		}
		for range commits {
			require.NoError(t, s.Transaction(func(tx *gorm.DB) error { return db.Publish(tx, created) }))
		}
		s.hear(t)
		answer <- struct{}{}
		s.hear(t)
		require.LessOrEqual(t, s.core.calls.Load(), int64(3), "what is committed meanwhile is told of together")
		require.NoError(t, db.Close(s.DB))
		require.ErrorIs(t, <-left, context.Canceled, "the end does not wait for the core either")
	})
}

var received = pluginapi.Event{
	ID: "1", Source: "/modules/billing", Type: "billing.plan.changed", Version: 1, Time: time.Unix(1, 0), Data: []byte(`{"plan":1}`),
}

func TestAnEventHasItsEffectOnce(t *testing.T) {
	t.Parallel()
	eachShop(t, func(t *testing.T, s shop) {
		broken := errors.New("broken")
		once := func(e pluginapi.Event, work func(*gorm.DB) error) error { return db.Once(t.Context(), s.DB, e, work) }
		require.ErrorIs(t, once(received, func(tx *gorm.DB) error { return errors.Join(effect(tx), broken) }), broken)
		require.Panics(t, func() { _ = once(received, func(tx *gorm.DB) error { panic(effect(tx)) }) })
		require.Zero(t, s.effects(t), "it failed, and may come again")
		for range 3 {
			require.NoError(t, once(received, func(tx *gorm.DB) error { return errors.Join(effect(tx), db.Publish(tx, created)) }))
		}
		require.EqualValues(t, 1, s.effects(t))
		require.Len(t, s.waiting(t), 1)

		again := received
		again.Time, again.TraceParent, again.ContentType = time.Unix(2, 0), "other", "application/json"
		require.NoError(t, once(again, effect), "published again")
		again.Source = "/modules/shop"
		require.NoError(t, once(again, effect))
		again.ID = "2"
		require.NoError(t, once(again, effect))
		require.EqualValues(t, 3, s.effects(t), "another source, another id")
	})
}

func TestAnotherEventUnderTheSameID(t *testing.T) {
	t.Parallel()
	eachShop(t, func(t *testing.T, s shop) {
		require.NoError(t, db.Once(t.Context(), s.DB, received, effect))
		for name, change := range map[string]func(*pluginapi.Event){
			"data": func(e *pluginapi.Event) { e.Data = []byte(`{"plan":2}`) }, "type": func(e *pluginapi.Event) { e.Type += "d" },
			"version": func(e *pluginapi.Event) { e.Version++ }, "key": func(e *pluginapi.Event) { e.Key = "7" },
			"subject":      func(e *pluginapi.Event) { e.Subject = "7" },
			"content type": func(e *pluginapi.Event) { e.ContentType = "text/plain" },
		} {
			other := received
			change(&other)
			var drop *pluginapi.DropError
			require.ErrorAs(t, db.Once(t.Context(), s.DB, other, effect), &drop, name)
			require.ErrorIs(t, drop, outbox.ErrOtherEvent, name)
		}
		for _, bad := range []pluginapi.Event{{ID: "1"}, {Source: "/modules/blog"}} {
			var drop *pluginapi.DropError
			require.ErrorAs(t, db.Once(t.Context(), s.DB, bad, effect), &drop)
		}
		require.EqualValues(t, 1, s.effects(t))
	})
}

func TestDuplicatesAtTheSameTime(t *testing.T) {
	t.Parallel()
	eachShop(t, func(t *testing.T, s shop) {
		const handlers, events = 8, 20
		var handling sync.WaitGroup
		errs := make(chan error, handlers*events)
		for range handlers {
			handling.Go(func() {
				for i := range events {
					e := received
					e.ID = fmt.Sprint(i)
					errs <- db.Once(t.Context(), s.DB, e, effect)
				}
			})
		}
		handling.Wait()
		close(errs)
		for err := range errs {
			require.NoError(t, err)
		}
		require.EqualValues(t, events, s.effects(t))
	})
}

// TestEachSubscriptionHasItsEffect goes through a module, of which two subscriptions want the same event.
func TestEachSubscriptionHasItsEffect(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		var conn *gorm.DB
		counted := func(ctx context.Context, e pluginapi.Event) error {
			return db.Once(ctx, conn, e, func(tx *gorm.DB) error {
				said := created
				said.Subject = pluginapi.SubscriptionFrom(ctx)
				return errors.Join(effect(tx), db.Publish(tx, said))
			})
		}
		module := pluginapi.Module{
			Events:     map[string]pluginapi.EventHandler{"billing.*": counted, "billing.plan.changed": counted},
			Migrations: db.Migrations(step("0001_effects", "CREATE TABLE blog_effects (n varchar(100))")),
			Init: func(ctx context.Context, core *pluginapi.Core) (err error) {
				conn, err = db.Open(ctx, core)
				return err
			},
			Stop: func(context.Context) error { return db.Close(conn) },
		}
		server := plugintest.Start(t, module, plugintest.Options{Manifest: "testdata/events.yaml", Database: d})
		e := received
		e.TraceParent = "00-trace"
		for range 3 {
			require.NoError(t, server.Deliver(t.Context(), e))
		}
		published := server.Published()
		require.Len(t, published, 2)
		require.ElementsMatch(t, []string{"billing.*", "billing.plan.changed"}, []string{published[0].Subject, published[1].Subject})
		require.Equal(t, "/modules/blog", published[0].Source)
		require.Equal(t, "00-trace", published[0].TraceParent)
		require.Len(t, server.Published(), 2, "it was taken out of the outbox")
	})
}

func TestTheInboxForgets(t *testing.T) {
	t.Parallel()
	eachShop(t, func(t *testing.T, s shop) {
		const old = 1200
		require.NoError(t, db.Once(t.Context(), s.DB, received, effect))
		require.NoError(t, s.Transaction(func(tx *gorm.DB) error {
			for i := range old {
				err := tx.Exec("INSERT INTO platformd_inbox (subscription, source, id, digest, at) VALUES ('', 'old', ?, ?, ?)",
					fmt.Sprint(i), []byte("x"), tx.NowFunc().Add(-15*24*time.Hour)).Error
				if err != nil {
					return err
				}
			}
			return nil
		}))
		left := func() (n int64) {
			require.NoError(t, s.Table("platformd_inbox").Count(&n).Error)
			return n
		}
		next := received
		next.ID = "2"
		require.NoError(t, db.Once(t.Context(), s.DB, next, effect))
		require.EqualValues(t, old+2, left(), "not at every event")
		db.Untidy(s.DB)
		next.ID = "3"
		require.NoError(t, db.Once(t.Context(), s.DB, next, effect))
		require.EqualValues(t, 3, left())
	})
}

func TestWithEventsACommitSurvivesAPowerCut(t *testing.T) {
	t.Parallel()
	for _, events := range []bool{false, true} {
		database := newDatabase(t)
		database.Events = events
		var synchronous int
		require.NoError(t, open(t, database).Raw("PRAGMA synchronous").Scan(&synchronous).Error)
		require.Equal(t, map[bool]int{false: 1, true: 2}[events], synchronous)
	}
}

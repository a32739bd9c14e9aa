package outbox_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/db/outbox"
	"github.com/platformd/platformd/plugin-api/event"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, database pluginapi.Database) *gorm.DB {
	t.Helper()
	db, err := backend.Open(t.Context(), backend.Database(database), backend.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, backend.Close(db)) })
	return db
}

func add(t *testing.T, db *gorm.DB, events ...event.Event) {
	t.Helper()
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		for _, e := range events {
			if err := outbox.Add(t.Context(), tx, e); err != nil {
				return err
			}
		}
		return nil
	}))
}

func named(id string) event.Event {
	return event.Event{ID: id, Type: "blog.post.created", Version: 1, Time: time.Unix(1, 0).UTC(), Data: []byte("{}")}
}

func ids(rows []outbox.Row) (all []string) {
	for _, r := range rows {
		all = append(all, r.Event.ID)
	}
	return all
}

func seqs(rows []outbox.Row) (all []int64) {
	for _, r := range rows {
		all = append(all, r.Seq)
	}
	return all
}

func TestManyMakeTheTablesAtOnce(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		work := open(t, d.Work)
		require.False(t, outbox.Ready(t.Context(), work))
		var making sync.WaitGroup
		made := make(chan error, 8)
		for range cap(made) {
			making.Go(func() { made <- d.Outbox.Create(t.Context()) })
		}
		making.Wait()
		close(made)
		for err := range made {
			require.NoError(t, err)
		}
		require.True(t, outbox.Ready(t.Context(), work))
		require.NoError(t, outbox.Create(t.Context(), work), "who may not make tables need not")
		require.NoError(t, outbox.Create(t.Context(), work.Where("nonsense")))
	})
}

func TestAModuleAtWorkMakesNoTables(t *testing.T) {
	t.Parallel()
	d := dbtest.PostgreSQL(t, "blog")
	require.ErrorContains(t, outbox.Create(t.Context(), open(t, d.Work)), "(fix: have platformd start the module")
}

func TestTheOutboxIsAQueue(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		require.NoError(t, d.Outbox.Create(t.Context()))
		db := open(t, d.Work)
		backlog, err := outbox.Pending(t.Context(), db)
		require.NoError(t, err)
		require.Zero(t, backlog)
		later := named("2")
		later.Time = time.Unix(2, 0)
		later.Data = nil
		add(t, db, named("1"), later, named("3"))

		backlog, err = outbox.Pending(t.Context(), db)
		require.NoError(t, err)
		require.Equal(t, outbox.Backlog{Rows: 3, Oldest: time.Unix(1, 0).UTC()}, backlog)
		rows, err := outbox.Next(t.Context(), db, 2)
		require.NoError(t, err)
		require.Equal(t, []string{"1", "2"}, ids(rows))
		require.NoError(t, outbox.Remove(t.Context(), db, seqs(rows)))
		require.NoError(t, outbox.Remove(t.Context(), db, seqs(rows)), "somebody else was faster")
		require.NoError(t, outbox.Remove(t.Context(), db, nil))
		rows, err = outbox.Next(t.Context(), db, 2)
		require.NoError(t, err)
		require.Equal(t, []string{"3"}, ids(rows))

		require.NoError(t, outbox.Remove(t.Context(), db, seqs(rows)))
		add(t, db, named("4"))
		after, err := outbox.Next(t.Context(), db, 2)
		require.NoError(t, err)
		require.Greater(t, after[0].Seq, rows[0].Seq, "no number is used twice")
	})
}

func TestMuchIsRemovedAtOnce(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		require.NoError(t, d.Outbox.Create(t.Context()))
		db := open(t, d.Work)
		many := make([]event.Event, 1100)
		for i := range many {
			many[i] = named("x")
		}
		add(t, db, many...)
		rows, err := outbox.Next(t.Context(), db, len(many))
		require.NoError(t, err)
		require.NoError(t, outbox.Remove(t.Context(), db, seqs(rows)[:len(many)-1]))
		backlog, err := outbox.Pending(t.Context(), db)
		require.NoError(t, err)
		require.EqualValues(t, 1, backlog.Rows)
	})
}

// TestWhatIsTooLargeIsCut: a module could fill its outbox with what the core has no memory for.
func TestWhatIsTooLargeIsCut(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		require.NoError(t, d.Outbox.Create(t.Context()))
		db := open(t, d.Work)
		huge := named("1")
		huge.Data = make([]byte, 4*event.MaxData)
		add(t, db, huge)
		if db.Name() == backend.SQLite { // which keeps to no length
			require.NoError(t, db.Exec("UPDATE platformd_outbox SET subject = ?", strings.Repeat("x", 1<<20)).Error)
		}
		rows, err := outbox.Next(t.Context(), db, 1)
		require.NoError(t, err)
		require.Len(t, rows[0].Event.Data, event.MaxData+1)
		require.LessOrEqual(t, len(rows[0].Event.Subject), event.MaxText+1)
	})
}

func TestWithoutTables(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		db := open(t, d.Work)
		_, err := outbox.Next(t.Context(), db, 1)
		require.ErrorContains(t, err, "read the outbox: ")
		_, err = outbox.Pending(t.Context(), db)
		require.ErrorContains(t, err, "look into the outbox: ")
		require.ErrorContains(t, outbox.Remove(t.Context(), db, []int64{1}), "from the outbox: ")
		_, err = outbox.Forget(t.Context(), db, time.Now())
		require.ErrorContains(t, err, "of the inbox: ")
		require.Error(t, db.Transaction(func(tx *gorm.DB) error {
			_, err := outbox.Enter(t.Context(), tx, "blog.*", named("1"))
			return errors.Join(err, outbox.Add(t.Context(), tx, named("1")))
		}))
	})
}

package sqlite_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// logTo returns a database whose log is the buffer's content. Nothing else may be using the database when it is read.
func logTo(t *testing.T, level hclog.Level) (*gorm.DB, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	log := hclog.New(&hclog.LoggerOptions{Level: level, Output: &out, Mutex: new(sync.Mutex)})
	db := fresh(t, sqlite.Options{Log: log})
	out.Reset()
	return db, &out
}

// trace reports a query to the logger as GORM does, as one that began a while ago.
func trace(db *gorm.DB, ago time.Duration, err error) {
	query := func() (string, int64) { return "SELECT `title` FROM `posts` WHERE id = ?", 3 }
	db.Logger.Trace(context.Background(), time.Now().Add(-ago), query, err)
}

func TestSlowQueriesAreWarnings(t *testing.T) {
	t.Parallel()
	db, out := logTo(t, hclog.Warn)
	trace(db, 199*time.Millisecond/2, nil)
	require.Empty(t, out.String())
	trace(db, 250*time.Millisecond, nil)
	require.Contains(t, out.String(), "[WARN]  slow query: ms=250 sql=\"SELECT `title` FROM `posts` WHERE id = ?\" rows=3")
}

func TestFailuresAreForDebug(t *testing.T) {
	t.Parallel()
	db, out := logTo(t, hclog.Debug)
	require.ErrorIs(t, db.Take(&author{}, 99).Error, gorm.ErrRecordNotFound)
	require.NoError(t, db.Create(&author{Email: "secret@example.org"}).Error)
	require.Empty(t, out.String(), "neither success nor a row that is not there is worth a line")

	require.Error(t, db.Create(&author{Email: "secret@example.org"}).Error)
	require.Contains(t, out.String(), "[DEBUG] query failed")
	require.Contains(t, out.String(), "INSERT INTO `authors`")
	require.NotContains(t, out.String(), "secret@example.org")
}

func TestFailuresAreSilentAtInfo(t *testing.T) {
	t.Parallel()
	db, out := logTo(t, hclog.Info)
	require.Error(t, db.Exec("SELEKT 1").Error)
	require.Empty(t, out.String())
}

func TestDebugShowsEveryQuery(t *testing.T) {
	t.Parallel()
	db, out := logTo(t, hclog.Debug)
	require.NoError(t, db.Debug().Find(&[]author{}, "email = ?", "secret@example.org").Error)
	require.Contains(t, out.String(), "[DEBUG] query: ")
	require.Contains(t, out.String(), "email = ?")
	require.NotContains(t, out.String(), "secret@example.org")
}

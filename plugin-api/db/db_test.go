package db_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
)

// Post and Comment are live models, as a module has them.
type Post struct {
	ID       uint
	Slug     string `gorm:"uniqueIndex"`
	Title    string
	Comments []Comment
}

type Comment struct {
	ID     uint
	PostID uint
	Text   string
}

// newDatabase is one of SQLite, for tests that are about files.
func newDatabase(t *testing.T) pluginapi.Database {
	t.Helper()
	return dbtest.SQLite(t, "blog").Work
}

// open opens database as the module would in Init.
func open(t *testing.T, database pluginapi.Database) *gorm.DB {
	t.Helper()
	gdb, err := db.Open(t.Context(), &pluginapi.Core{Name: "blog", Database: database})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close(gdb)) })
	return gdb
}

func TestOpenNeedsTheGrant(t *testing.T) {
	t.Parallel()
	_, err := db.Open(t.Context(), &pluginapi.Core{Name: "blog"})
	require.ErrorContains(t, err, "module blog may not use a database (fix: add `grants: { database: true }`")
}

func TestOpenRefusesAnUnknownDriver(t *testing.T) {
	t.Parallel()
	_, err := db.Open(t.Context(), &pluginapi.Core{Name: "blog", Database: pluginapi.Database{Driver: "oracle"}})
	require.ErrorContains(t, err, `database driver "oracle" is not known`)
	require.ErrorContains(t, err, "fix: ")
}

func TestOpenEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := db.Open(ctx, &pluginapi.Core{Name: "blog", Database: newDatabase(t)})
	require.ErrorIs(t, err, context.Canceled)
}

func TestTablesCarryTheModulesPrefix(t *testing.T) {
	t.Parallel()
	gdb := open(t, newDatabase(t))
	require.NoError(t, gdb.AutoMigrate(&Post{}, &Comment{}))
	tables, err := gdb.Migrator().GetTables()
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"blog_posts", "blog_comments", "sqlite_sequence"}, tables)
	require.NoError(t, gdb.Create(&Post{Slug: "a", Comments: []Comment{{Text: "hi"}}}).Error)
	require.ErrorIs(t, gdb.Create(&Post{Slug: "a"}).Error, gorm.ErrDuplicatedKey)
	require.ErrorIs(t, gdb.Create(&Comment{PostID: 99}).Error, gorm.ErrForeignKeyViolated)
}

func TestOpenLogsToTheModulesLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: &out})
	gdb, err := db.Open(t.Context(), &pluginapi.Core{Name: "blog", Log: log, Database: newDatabase(t)})
	require.NoError(t, err)
	require.Error(t, gdb.Exec("SELEKT 1").Error)
	require.NoError(t, db.Close(gdb))
	require.Contains(t, out.String(), "SELEKT 1")
}

func TestCloseTakesNil(t *testing.T) {
	t.Parallel()
	require.NoError(t, db.Close(nil))
}

package db_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

// withComments makes both tables, with one post and two comments on it.
func withComments(t *testing.T, database pluginapi.Database) {
	t.Helper()
	up(t, database, posts, comments)
	gdb := open(t, database)
	require.NoError(t, gdb.Create(&Post{ID: 1, Slug: "a", Title: "A"}).Error)
	require.NoError(t, gdb.Create([]Comment{{ID: 10, PostID: 1}, {ID: 11, PostID: 1}}).Error)
}

// SQLite cannot alter a column: GORM copies the table, drops the old one and renames the copy. The drop deletes every row,
// and with foreign keys on, ON DELETE CASCADE deletes the rows that refer to them.
func TestARebuiltTableKeepsItsChildren(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		withComments(t, d.Migrations)
		up(t, d.Migrations, posts, comments, db.Migration{ID: "0003_rebuild", Up: func(tx *gorm.DB) error {
			type Post struct {
				ID    uint
				Slug  string
				Title string `gorm:"not null;default:''"`
			}
			return tx.Migrator().AlterColumn(&Post{}, "Title")
		}})
		gdb := open(t, d.Work)
		var count int64
		require.NoError(t, gdb.Model(&Comment{}).Count(&count).Error)
		require.EqualValues(t, 2, count)
		require.Error(t, gdb.Exec("INSERT INTO blog_posts (slug, title) VALUES ('b', NULL)").Error, "the column has changed")
		require.ErrorIs(t, gdb.Create(&Comment{ID: 12, PostID: 99}).Error, gorm.ErrForeignKeyViolated, "and foreign keys are on again")
		require.NoError(t, gdb.Delete(&Post{ID: 1}).Error)
		require.NoError(t, gdb.Model(&Comment{}).Count(&count).Error)
		require.Zero(t, count, "the cascade still works")
	})
}

func TestOrphansUndoTheStep(t *testing.T) {
	t.Parallel()
	database := newDatabase(t)
	withComments(t, database)
	m := db.Migrations(posts, comments, step("0003_orphans", "DELETE FROM blog_posts"))
	_, err := m.Run(t.Context(), database, pluginapi.Step{ID: "0003_orphans"})
	require.ErrorIs(t, err, gorm.ErrForeignKeyViolated)
	var detail *sqlite.ForeignKeyError
	require.ErrorAs(t, err, &detail)
	require.Len(t, detail.Violations, 2)
	require.ErrorContains(t, err, "blog_comments row 10 -> blog_posts, blog_comments row 11 -> blog_posts (fix: ")

	gdb := open(t, database)
	require.Equal(t, []string{"0001_posts", "0002_comments"}, applied(t, gdb))
	require.NoError(t, gdb.Take(&Post{}, 1).Error)
}

// PostgreSQL checks at once, or at the commit what was deferred. Then the commit fails, and with it the ledger's row.
func TestDeferredOrphansUndoTheStep(t *testing.T) {
	t.Parallel()
	d := dbtest.PostgreSQL(t, "blog")
	withComments(t, d.Migrations)
	m := db.Migrations(posts, comments, step("0003_orphans",
		"ALTER TABLE blog_comments ALTER CONSTRAINT blog_comments_post_id_fkey DEFERRABLE INITIALLY DEFERRED",
		"UPDATE blog_comments SET post_id = 99"))
	_, err := m.Run(t.Context(), d.Migrations, pluginapi.Step{ID: "0003_orphans"})
	require.ErrorIs(t, err, gorm.ErrForeignKeyViolated)
	require.ErrorContains(t, err, "commit: ")
	require.Equal(t, []string{"0001_posts", "0002_comments"}, at(t, d.Migrations))
	var moved int64
	require.NoError(t, open(t, d.Work).Model(&Comment{}).Where("post_id = 99").Count(&moved).Error)
	require.Zero(t, moved)
}

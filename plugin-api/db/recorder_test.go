package db_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

func TestWhatIsRecorded(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		up(t, d.Migrations, posts)
		long := "INSERT INTO blog_posts (title) VALUES ('" + strings.Repeat("é", 5000) + "')"
		m := db.Migrations(posts, db.Migration{ID: "0002_data", Up: func(tx *gorm.DB) error {
			return errors.Join(
				tx.Create(&Post{Slug: "secret"}).Error,
				tx.Find(&[]Post{}).Error,
				tx.Exec("-- why\nUPDATE blog_posts SET title = ? WHERE slug = ?", "secret", "secret").Error,
				tx.Exec(long).Error,
				prepared(tx).Exec("DELETE FROM blog_posts WHERE slug = ?", "secret").Error,
			)
		}})
		statements, err := m.Run(t.Context(), d.Migrations, pluginapi.Step{ID: "0002_data"})
		require.NoError(t, err)
		require.Len(t, statements, 4, "what only reads is left out: %q", statements)
		require.Less(t, len(statements[2]), 4200)
		if d.Migrations.Driver == backend.SQLite {
			require.Equal(t, "INSERT INTO `blog_posts` (`slug`,`title`) VALUES (?,?) RETURNING `id`", statements[0])
			require.Equal(t, "-- why\nUPDATE blog_posts SET title = ? WHERE slug = ?", statements[1])
			require.Equal(t, "DELETE FROM blog_posts WHERE slug = ?", statements[3])
		} else {
			require.Equal(t, `INSERT INTO "blog_posts" ("slug","title") VALUES ($1,$2) RETURNING "id"`, statements[0])
			require.Equal(t, "-- why\nUPDATE blog_posts SET title = $1 WHERE slug = $2", statements[1])
			require.Equal(t, "DELETE FROM blog_posts WHERE slug = $1", statements[3])
		}
		for _, statement := range statements {
			require.True(t, utf8.ValidString(statement), "protobuf takes nothing else")
		}
	})
}

// SQLite takes what is no text; PostgreSQL refuses it.
func TestARecordIsText(t *testing.T) {
	t.Parallel()
	database := newDatabase(t)
	up(t, database, posts)
	m := db.Migrations(posts, step("0002_data", "INSERT INTO blog_posts (title) VALUES ('\xff')"))
	statements, err := m.Run(t.Context(), database, pluginapi.Step{ID: "0002_data"})
	require.NoError(t, err)
	require.Equal(t, []string{"INSERT INTO blog_posts (title) VALUES ('?')"}, statements)
}

func TestTheRecordIsBounded(t *testing.T) {
	t.Parallel()
	database := newDatabase(t)
	up(t, database, posts)
	m := db.Migrations(posts, db.Migration{ID: "0002_seed", Up: func(tx *gorm.DB) error {
		for i := range 1005 {
			if err := tx.Create(&Post{Slug: fmt.Sprint(i)}).Error; err != nil {
				return err
			}
		}
		return nil
	}})
	statements, err := m.Run(t.Context(), database, pluginapi.Step{ID: "0002_seed"})
	require.NoError(t, err)
	require.Len(t, statements, 1001)
	require.Equal(t, "-- and 5 more", statements[1000])
}

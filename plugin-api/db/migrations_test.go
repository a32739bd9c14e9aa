package db_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

// posts makes the table; the struct is frozen, as an author is told to do it.
var posts = db.Migration{
	ID: "0001_posts",
	Up: func(tx *gorm.DB) error {
		type Post struct {
			ID    uint
			Slug  string `gorm:"uniqueIndex"`
			Title string
		}
		return tx.Migrator().CreateTable(&Post{})
	},
	Down: func(tx *gorm.DB) error { return tx.Migrator().DropTable("blog_posts") },
}

var comments = db.Migration{
	ID: "0002_comments",
	Up: func(tx *gorm.DB) error {
		return tx.Exec("CREATE TABLE blog_comments (id integer PRIMARY KEY, text text, " +
			"post_id integer NOT NULL REFERENCES blog_posts(id) ON DELETE CASCADE)").Error
	},
}

// step returns a migration with an Up that is given as SQL.
func step(id string, statements ...string) db.Migration {
	return db.Migration{ID: id, Up: func(tx *gorm.DB) error {
		for _, statement := range statements {
			if err := tx.Exec(statement).Error; err != nil {
				return err
			}
		}
		return nil
	}}
}

// up applies the steps to database, in order.
func up(t *testing.T, database pluginapi.Database, steps ...db.Migration) {
	t.Helper()
	m := db.Migrations(steps...)
	for _, id := range m.IDs {
		_, err := m.Run(t.Context(), database, pluginapi.Step{ID: id})
		require.NoError(t, err, id)
	}
}

// applied is what the ledger of an SQLite file says; at reads any.
func applied(t *testing.T, gdb *gorm.DB) []string {
	t.Helper()
	rows, err := ledger.Read(gdb, ledger.Table)
	require.NoError(t, err)
	return ledger.IDs(rows)
}

func TestRunAppliesAStepAndItsRow(t *testing.T) {
	t.Parallel()
	database := newDatabase(t)
	m := db.Migrations(posts, comments)
	require.Equal(t, []string{"0001_posts", "0002_comments"}, m.IDs)
	before := time.Now().Add(-time.Second)

	statements, err := m.Run(t.Context(), database, pluginapi.Step{ID: "0001_posts"})
	require.NoError(t, err)
	require.Equal(t, []string{
		"CREATE TABLE `blog_posts` (`id` integer PRIMARY KEY AUTOINCREMENT,`slug` text,`title` text)",
		"CREATE UNIQUE INDEX `idx_blog_posts_slug` ON `blog_posts`(`slug`)",
	}, statements)

	gdb := open(t, database)
	rows, err := ledger.Read(gdb, ledger.Table)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	require.Equal(t, "0001_posts", rows[0].ID)
	require.WithinRange(t, rows[0].AppliedAt, before, time.Now().Add(time.Second))
	kept, err := ledger.Statements(gdb, ledger.Table, "0001_posts")
	require.NoError(t, err)
	require.Equal(t, statements, kept)
	require.NoError(t, gdb.Create(&Post{Slug: "a"}).Error)
}

func TestRunIsOnceForEver(t *testing.T) {
	t.Parallel()
	database := newDatabase(t)
	up(t, database, posts)
	m := db.Migrations(posts)
	for range 3 {
		statements, err := m.Run(t.Context(), database, pluginapi.Step{ID: "0001_posts"})
		require.NoError(t, err)
		require.Len(t, statements, 2, "the answer is what ran the first time")
	}
	require.Equal(t, []string{"0001_posts"}, applied(t, open(t, database)))
}

func TestManyRunAtOnce(t *testing.T) {
	t.Parallel()
	database := newDatabase(t)
	m := db.Migrations(posts, step("0002_seed", "INSERT INTO blog_posts (slug) VALUES ('first')"))
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() {
			for _, id := range m.IDs {
				_, err := m.Run(t.Context(), database, pluginapi.Step{ID: id})
				errs[i] = errors.Join(errs[i], err)
			}
		})
	}
	all.Wait()
	require.NoError(t, errors.Join(errs...))
	gdb := open(t, database)
	require.Equal(t, m.IDs, applied(t, gdb))
	var count int64
	require.NoError(t, gdb.Model(&Post{}).Count(&count).Error)
	require.EqualValues(t, 1, count)
}

func TestRunKeepsTheOrder(t *testing.T) {
	t.Parallel()
	database := newDatabase(t)
	m := db.Migrations(posts, comments)
	_, err := m.Run(t.Context(), database, pluginapi.Step{ID: "0002_comments"})
	require.ErrorContains(t, err, "migration 0002_comments comes after 0001_posts, which has not been applied (fix: ")
	up(t, database, posts, comments)

	_, err = db.Migrations(posts, step("0003_new")).Run(t.Context(), database, pluginapi.Step{ID: "0003_new"})
	var missing *ledger.MissingError
	require.ErrorAs(t, err, &missing, "a database newer than the binary is left alone")

	inserted := db.Migrations(posts, step("0001b_late"), comments)
	_, err = inserted.Run(t.Context(), database, pluginapi.Step{ID: "0001b_late"})
	var order *ledger.OrderError
	require.ErrorAs(t, err, &order)
	require.Equal(t, []string{"0001_posts", "0002_comments"}, applied(t, open(t, database)))
}

func TestDownUndoesTheLastStep(t *testing.T) {
	t.Parallel()
	database := newDatabase(t)
	m := db.Migrations(posts)
	down := pluginapi.Step{ID: "0001_posts", Down: true}
	_, err := m.Run(t.Context(), database, down)
	require.ErrorContains(t, err, "migration 0001_posts is not the last one applied")

	up(t, database, posts)
	statements, err := m.Run(t.Context(), database, down)
	require.NoError(t, err)
	require.Equal(t, []string{"DROP TABLE IF EXISTS `blog_posts`"}, statements)
	gdb := open(t, database)
	require.Empty(t, applied(t, gdb))
	require.False(t, gdb.Migrator().HasTable("blog_posts"))

	up(t, database, posts)
	require.Equal(t, []string{"0001_posts"}, applied(t, gdb), "and it can be applied again")
}

func TestDownGoesBackwards(t *testing.T) {
	t.Parallel()
	database := newDatabase(t)
	up(t, database, posts, comments)
	_, err := db.Migrations(posts, comments).Run(t.Context(), database, pluginapi.Step{ID: "0001_posts", Down: true})
	require.ErrorContains(t, err, "migration 0001_posts is not the last one applied (fix: undo the later ones first)")
	require.Equal(t, []string{"0001_posts", "0002_comments"}, applied(t, open(t, database)))
}

func TestMistakesAreRefusedBeforeAnythingRuns(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		steps []db.Migration
		run   pluginapi.Step
		says  string
	}{
		"no Down":           {[]db.Migration{posts, comments}, pluginapi.Step{ID: "0002_comments", Down: true}, "has no Down"},
		"no Up":             {[]db.Migration{posts, {ID: "0002_x"}}, pluginapi.Step{ID: "0001_posts"}, `"0002_x" has no Up`},
		"unknown":           {[]db.Migration{posts}, pluginapi.Step{ID: "0009_x"}, `no migration "0009_x"`},
		"none at all":       {nil, pluginapi.Step{ID: "0001_posts"}, `no migration "0001_posts"`},
		"declared twice":    {[]db.Migration{posts, posts}, pluginapi.Step{ID: "0001_posts"}, "is declared twice"},
		"an id that is bad": {[]db.Migration{posts, step("a b")}, pluginapi.Step{ID: "0001_posts"}, `"a b" is not made of`},
		"empty id":          {[]db.Migration{step("")}, pluginapi.Step{}, `"" is not made of`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := newDatabase(t)
			_, err := db.Migrations(test.steps...).Run(t.Context(), database, test.run)
			require.ErrorContains(t, err, test.says)
			require.ErrorContains(t, err, "fix: ")
			tables, err := open(t, database).Migrator().GetTables()
			require.NoError(t, err)
			require.Empty(t, tables)
		})
	}
}

func TestTheStepsAreTheCallersNoMore(t *testing.T) {
	t.Parallel()
	steps := []db.Migration{posts}
	m := db.Migrations(steps...)
	steps[0].Up = nil
	_, err := m.Run(t.Context(), newDatabase(t), pluginapi.Step{ID: "0001_posts"})
	require.NoError(t, err)
}

// failure is a step that must not leave anything, and what is said of it.
type failure struct {
	up   func(tx *gorm.DB) error
	says string
}

func TestAFailedStepLeavesNothing(t *testing.T) {
	t.Parallel()
	failures := map[string]failure{
		"syntax error in statement 3 of 5": {
			step("", "CREATE TABLE blog_a (n integer)", "INSERT INTO blog_posts (slug) VALUES ('x')", "CREATE TABEL blog_b",
				"CREATE TABLE blog_c (n integer)", "DROP TABLE blog_posts").Up,
			"(statement 3: CREATE TABEL blog_b)",
		},
		"the author's error": {func(tx *gorm.DB) error {
			return errors.Join(tx.Exec("CREATE TABLE blog_a (n integer)").Error, errors.New("the author's own reason"))
		}, "the author's own reason"},
		"a row that breaks a rule": {
			step("", "INSERT INTO blog_posts (slug) VALUES ('a')", "INSERT INTO blog_posts (slug) VALUES ('a')").Up,
			"(statement 2: INSERT INTO blog_posts",
		},
		"commit": {func(tx *gorm.DB) error {
			return errors.Join(tx.Exec("CREATE TABLE blog_a (n integer)").Error, tx.Commit().Error)
		}, "may not begin or end"},
		"rollback": {func(tx *gorm.DB) error { return tx.Rollback().Error }, "may not begin or end"},
		"raw commit": {
			step("", "CREATE TABLE blog_a (n integer)", " /* now */ -- really\n Commit;").Up, "may not begin or end",
		},
		"commit in a tail": {step("", "CREATE TABLE blog_a (n integer); COMMIT; SELECT 1").Up, "may not begin or end"},
		"raw rollback":     {step("", "rollback").Up, "may not begin or end"},
		"raw begin":        {step("", "BEGIN IMMEDIATE").Up, "may not begin or end"},
		"prepared":         {func(tx *gorm.DB) error { return prepared(tx).Exec("END").Error }, "may not begin or end"},
		"commit, unheeded": {func(tx *gorm.DB) error { tx.Commit(); return nil }, "may not begin or end"},
		"raw query":        {func(tx *gorm.DB) error { return tx.Raw("COMMIT").Scan(new(int)).Error }, "may not begin or end"},
		"row of a query":   {func(tx *gorm.DB) error { return tx.Raw("COMMIT").Row().Err() }, "may not begin or end"},
	}
	onSQLite := map[string]failure{
		"full disk": {func(tx *gorm.DB) error {
			return errors.Join(tx.Raw("PRAGMA max_page_count = 1").Scan(new(int)).Error,
				tx.Exec("CREATE TABLE blog_a AS SELECT randomblob(1000000) AS b").Error)
		}, "the disk is full (fix: free some space"},
	}
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		up(t, d.Migrations, posts)
		for name, test := range failures {
			requireFailure(t, d, name, test)
		}
		if d.Migrations.Driver == backend.SQLite {
			for name, test := range onSQLite {
				requireFailure(t, d, name, test)
			}
		}
	})
}

func requireFailure(t *testing.T, d *plugintest.Database, name string, test failure) {
	t.Helper()
	m := db.Migrations(posts, db.Migration{ID: "0002_fails", Up: test.up})
	statements, err := m.Run(t.Context(), d.Migrations, pluginapi.Step{ID: "0002_fails"})
	require.ErrorContains(t, err, test.says, name)
	require.Empty(t, statements, name)
	requireOnlyPosts(t, d)
}

func prepared(tx *gorm.DB) *gorm.DB { return tx.Session(&gorm.Session{PrepareStmt: true}) }

// requireOnlyPosts finds the database as the first migration left it, and in working order.
func requireOnlyPosts(t *testing.T, d *plugintest.Database) {
	t.Helper()
	require.Equal(t, []string{"0001_posts"}, at(t, d.Migrations))
	want := []string{"blog_posts"}
	if d.Migrations.Driver == backend.SQLite { // PostgreSQL's ledger lies elsewhere
		want = append(want, "platformd_migrations", "sqlite_sequence")
	}
	gdb := open(t, d.Work)
	tables, err := gdb.Migrator().GetTables()
	require.NoError(t, err)
	require.ElementsMatch(t, want, tables)
	var count int64
	require.NoError(t, gdb.Model(&Post{}).Count(&count).Error)
	require.Zero(t, count)
	post := Post{Slug: "after"}
	require.NoError(t, gdb.Create(&post).Error)
	require.NoError(t, gdb.Delete(&post).Error)
}

// If the row cannot be written, the step has not happened.
func TestAStepWithoutItsRowLeavesNothing(t *testing.T) {
	t.Parallel()
	d := dbtest.SQLite(t, "blog")
	database := d.Migrations
	up(t, database, posts)
	require.NoError(t, open(t, database).Exec("CREATE TRIGGER no_second BEFORE INSERT ON platformd_migrations "+
		"WHEN NEW.id = '0002_a' BEGIN SELECT RAISE(ABORT, 'no room'); END").Error)
	m := db.Migrations(posts, step("0002_a", "CREATE TABLE blog_a (n integer)"))
	_, err := m.Run(t.Context(), database, pluginapi.Step{ID: "0002_a"})
	require.ErrorContains(t, err, "write the migration ledger")
	require.ErrorContains(t, err, "no room")
	requireOnlyPosts(t, d)
}

func TestAPanicLeavesNothing(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		up(t, d.Migrations, posts)
		m := db.Migrations(posts, db.Migration{ID: "0002_panics", Up: func(tx *gorm.DB) error {
			tx.Exec("CREATE TABLE blog_a (n integer)")
			panic("oops")
		}})
		require.PanicsWithValue(t, "oops", func() { _, _ = m.Run(t.Context(), d.Migrations, pluginapi.Step{ID: "0002_panics"}) })
		requireOnlyPosts(t, d)
	})
}

func TestAStepThatTakesTooLongLeavesNothing(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		up(t, d.Migrations, posts)
		ctx, cancel := context.WithCancel(t.Context())
		m := db.Migrations(posts, db.Migration{ID: "0002_slow", Up: func(tx *gorm.DB) error {
			tx.Exec("CREATE TABLE blog_a (n integer)")
			cancel()
			<-tx.Statement.Context.Done()
			return nil
		}})
		_, err := m.Run(ctx, d.Migrations, pluginapi.Step{ID: "0002_slow"})
		require.ErrorIs(t, err, context.Canceled)
		requireOnlyPosts(t, d)
	})
}

func TestAStepMayNestTransactionsAndPrepare(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		up(t, d.Migrations, posts, db.Migration{ID: "0002_nested", Up: func(tx *gorm.DB) error {
			undone := tx.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Create(&Post{Slug: "undone"}).Error, errors.New("no"))
			})
			if undone == nil {
				return errors.New("the nested transaction was not undone")
			}
			return prepared(tx).Transaction(func(tx *gorm.DB) error { return tx.Create(&Post{Slug: "kept"}).Error })
		}})
		var all []Post
		require.NoError(t, open(t, d.Work).Find(&all).Error)
		require.Len(t, all, 1)
		require.Equal(t, "kept", all[0].Slug)
	})
}

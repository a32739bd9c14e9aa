package sqlfiles_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/sqlfiles"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/step"
)

// order is one for a migration whose file was not checked.
func order(id string, statements ...string) sqlfiles.Order {
	return sqlfiles.Order{ID: id, Statements: statements, Declared: []ledger.Declared{{ID: id, Checksum: "of " + id}}}
}

// loose is order for a migration outside of a transaction.
func loose(id string, statements ...string) sqlfiles.Order {
	o := order(id, statements...)
	o.NoTransaction = true
	return o
}

// endless is a statement that does not end by itself.
func endless(dialect string) string {
	if dialect == step.PostgreSQL {
		return "SELECT pg_sleep(600)"
	}
	return "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
}

func TestAFileIsRunWithItsRow(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p place) {
		const up = "CREATE TABLE blog_posts (n integer, at text);\nINSERT INTO blog_posts VALUES (7, 'what? @who');\n"
		all, err := sqlfiles.Load(folder(t, map[string]string{
			"0001_posts.up.sql": up, "0001_posts.down.sql": "DROP TABLE blog_posts;", "0002_last.up.sql": "SELECT 1;",
		}), p.dialect())
		require.NoError(t, err)
		up1, err := sqlfiles.NewOrder(backend.Database{}, all, "0001_posts", false)
		require.NoError(t, err)
		want := []string{"CREATE TABLE blog_posts (n integer, at text)", "INSERT INTO blog_posts VALUES (7, 'what? @who')"}
		for range 2 { // the second time it is found done
			statements, err := p.run(t, up1)
			require.NoError(t, err)
			require.Equal(t, want, statements)
			require.Equal(t, []int{7}, p.query(t, "SELECT n FROM blog_posts"))
		}
		rows := p.rows(t)
		require.Len(t, rows, 1)
		sum := sha256.Sum256([]byte(up))
		require.Equal(t, "0001_posts", rows[0].ID)
		require.Equal(t, hex.EncodeToString(sum[:]), rows[0].Checksum)
		require.Equal(t, 1, rows[0].Position)
		require.False(t, rows[0].Unfinished)

		down1, err := sqlfiles.NewOrder(backend.Database{}, all, "0001_posts", true)
		require.NoError(t, err)
		statements, err := p.run(t, down1)
		require.NoError(t, err)
		require.Equal(t, []string{"DROP TABLE blog_posts"}, statements)
		require.Empty(t, p.rows(t))
		p.requireNoTable(t)
		_, err = sqlfiles.NewOrder(backend.Database{}, all, "0002_last", true)
		require.ErrorContains(t, err, "has no 0002_last.down.sql (fix: ")
	})
}

func TestAWrongStatementUndoesTheStep(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p place) {
		statements := make([]string, 5)
		for i := range statements {
			statements[i] = fmt.Sprintf("CREATE TABLE blog_t%d (n integer)", i+1)
		}
		wrong := slices.Clone(statements)
		wrong[2] = "CREATE TABEL blog_t3 (n integer)"
		_, err := p.run(t, order("0001_a", wrong...))
		require.ErrorContains(t, err, "statement 3 of 5: ")
		require.ErrorContains(t, err, "syntax error")
		require.ErrorContains(t, err, "(CREATE TABEL blog_t3 (n integer))")
		require.Empty(t, p.rows(t))
		p.requireNoTable(t)

		_, err = p.run(t, order("0001_a", statements...))
		require.NoError(t, err)
		require.Len(t, p.rows(t), 1)
	})
}

// inTheMiddle starts a step that has written, and does not end. The login is the run's.
func (p place) inTheMiddle(t *testing.T) (c *child, end func()) {
	t.Helper()
	login := p.login(t)
	o := order("0001_a", "CREATE TABLE blog_big (x integer, pad text)", numbers(p.dialect()), endless(p.dialect()))
	o.Database = login.Database
	c = startChild(t)
	c.tell(t, o)
	if p.dialect() == step.PostgreSQL {
		source, err := url.Parse(login.Database.Source)
		require.NoError(t, err)
		admin := cluster.Admin(t)
		await(t, "the last statement", func() (there bool) {
			require.NoError(t, admin.Raw("SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = ? AND query LIKE '%pg_sleep%'",
				source.User.Username()).Scan(&there).Error)
			return there
		})
	} else {
		await(t, "pages that do not fit into memory", func() bool { return walSize(t, login.Database.Source) > 4<<20 })
	}
	return c, func() { require.NoError(t, login.Close(t.Context())) }
}

// numbers is a statement that writes more than a connection keeps in memory.
func numbers(dialect string) string {
	if dialect == step.PostgreSQL {
		return "INSERT INTO blog_big SELECT n, repeat('x', 1000) FROM generate_series(1, 10000) n"
	}
	return "INSERT INTO blog_big WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 10000) " +
		"SELECT x, hex(zeroblob(500)) FROM n"
}

func TestEndedInTheMiddleOfAStepNothingIsLeft(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, c *child){
		"kill -9": func(t *testing.T, c *child) { c.kill(t) },
		"the core is gone": func(t *testing.T, c *child) {
			require.NoError(t, c.lifeline.Close())
			require.ErrorContains(t, c.cmd.Wait(), "exit status 1")
		},
		"SIGTERM": func(t *testing.T, c *child) {
			require.NoError(t, c.cmd.Process.Signal(syscall.SIGTERM))
			_, err := c.answer(t)
			require.Error(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, p place) {
				c, done := p.inTheMiddle(t)
				end(t, c)
				done() // as the core does
				require.Empty(t, p.rows(t))
				p.requireNoTable(t)
				_, err := p.run(t, order("0001_a", "CREATE TABLE blog_big (x integer)", "INSERT INTO blog_big VALUES (1)"))
				require.NoError(t, err)
				require.Equal(t, []int{1}, p.query(t, "SELECT x FROM blog_big"))
				require.Len(t, p.rows(t), 1)
			})
		})
	}
}

func TestALooseStepIsResumedWhereItWasKilled(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p place) {
		statements := []string{"CREATE TABLE blog_trace (n integer)"}
		for n := 2; n <= 5; n++ {
			statements = append(statements, fmt.Sprintf("INSERT INTO blog_trace VALUES (%d)", n))
		}
		for at := range statements {
			held := slices.Clone(statements)
			held[at] = endless(p.dialect())
			login := p.login(t)
			o := loose("0001_a", held...)
			o.Database = login.Database
			c := startChild(t)
			c.tell(t, o)
			await(t, fmt.Sprint("statement ", at+1), func() bool {
				rows := p.rows(t)
				return len(rows) == 1 && rows[0].Unfinished && rows[0].Progress == at
			})
			c.kill(t)
			require.NoError(t, login.Close(t.Context()))
		}
		ran, err := p.run(t, loose("0001_a", statements...))
		require.NoError(t, err)
		require.Equal(t, statements, ran)
		require.Equal(t, []int{2, 3, 4, 5}, p.query(t, "SELECT n FROM blog_trace ORDER BY n"), "each statement once")
		rows := p.rows(t)
		require.False(t, rows[0].Unfinished)
		require.Equal(t, "of 0001_a", rows[0].Checksum)
	})
}

// A statement that can never work must not make a dead end of a step that cannot be undone.
func TestALooseStepIsCorrected(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p place) {
		first := []string{"CREATE TABLE blog_trace (n integer)", "INSERT INTO blog_trace VALUES (2)"}
		_, err := p.run(t, loose("0001_a", append(first, "INSERT INTO blog_tarce VALUES (3)", "INSERT INTO blog_trace VALUES (4)")...))
		require.ErrorContains(t, err, "statement 3 of 4: ")
		require.ErrorContains(t, err, "will be resumed")

		edited := loose("0001_a", "CREATE TABLE blog_trace (n bigint)", first[1])
		edited.Declared[0].Checksum = "another"
		_, err = p.run(t, edited)
		require.ErrorContains(t, err, "migration 0001_a was edited after it had been applied")
		require.ErrorContains(t, err, "statement 1 has been run as it was) (fix: ")
		require.Equal(t, []int{2}, p.query(t, "SELECT n FROM blog_trace"))

		corrected := loose("0001_a", append(first, "INSERT INTO blog_trace VALUES (3)", "INSERT INTO blog_trace VALUES (4)")...)
		corrected.Declared[0].Checksum = "a third"
		_, err = p.run(t, corrected)
		require.NoError(t, err)
		require.Equal(t, []int{2, 3, 4}, p.query(t, "SELECT n FROM blog_trace ORDER BY n"))
		require.Equal(t, "a third", p.rows(t)[0].Checksum)
		require.False(t, p.rows(t)[0].Unfinished)
	})
}

// The files were checked before; this is what stands behind the check.
func TestNoOtherFileIsReachedAtRunTime(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"attach":             "ATTACH DATABASE '%s' AS other",
		"attach by uri":      "ATTACH DATABASE 'file:%s?mode=rwc' AS other",
		"vacuum into":        "VACUUM INTO '%s'",
		"after another":      "SELECT 1; ATTACH DATABASE '%s' AS other",
		"pragma":             "PRAGMA journal_mode = delete -- %s",
		"pragma, after more": "SELECT 1; /* a */ PRAGMA main.synchronous = off -- %s",
		"extension":          "SELECT load_extension('%s')",
	} {
		for _, make := range []func(string, ...string) sqlfiles.Order{order, loose} {
			t.Run(fmt.Sprint(name, ", in a transaction ", !make("").NoTransaction), func(t *testing.T) {
				t.Parallel()
				p := newPlace(t, "")
				target := filepath.Join(t.TempDir(), "other.db")
				_, err := p.run(t, make("0001_a", "CREATE TABLE blog_a (n integer)", fmt.Sprintf(statement, target)))
				require.Error(t, err)
				require.NoFileExists(t, target)
				require.NotContains(t, err.Error(), "no such table")
				for _, row := range p.rows(t) {
					require.True(t, row.Unfinished)
				}
				if strings.HasPrefix(name, "pragma") {
					require.ErrorContains(t, err, "PRAGMA changes how the file is kept")
					p.requireNoTable(t)
				}
			})
		}
	}
}

func TestAnOrderThatIsNone(t *testing.T) {
	t.Parallel()
	c := startChild(t)
	_, err := c.order.Write([]byte("{ this is none"))
	require.NoError(t, err)
	require.NoError(t, c.order.Close())
	require.ErrorContains(t, c.cmd.Wait(), "exit status 1")
	require.Contains(t, c.log.String(), "migrate: read the order: ")
	require.Empty(t, c.out.String())
	_, err = sqlfiles.ReadAnswer(nil)
	require.ErrorContains(t, err, "read the answer of the migration's process: ")
}

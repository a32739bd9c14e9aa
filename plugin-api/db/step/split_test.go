package step_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/step"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text, dialect string
		want          []string
	}{
		"nothing":       {"", step.SQLite, nil},
		"only comments": {"-- a;\n/* b; */ ;;", step.SQLite, nil},
		"two":           {"SELECT 1; SELECT 2", step.SQLite, []string{"SELECT 1", "SELECT 2"}},
		"quotes": {`SELECT ';''x;', ";""", 3; SELECT 2;`, step.PostgreSQL,
			[]string{`SELECT ';''x;', ";""", 3`, "SELECT 2"}},
		"backticks":  {"SELECT `a;b`; SELECT [c;d]", step.SQLite, []string{"SELECT `a;b`", "SELECT [c;d]"}},
		"subscripts": {"SELECT a[1]; SELECT b[2]", step.PostgreSQL, []string{"SELECT a[1]", "SELECT b[2]"}},
		"escapes":    {`SELECT E'a\';b'; SELECT 2`, step.PostgreSQL, []string{`SELECT E'a\';b'`, "SELECT 2"}},
		"no escapes": {`SELECT 'a\'; SELECT 2`, step.PostgreSQL, []string{`SELECT 'a\'`, "SELECT 2"}},
		"dollars": {"DO $$ BEGIN a; END $$; SELECT $1; SELECT $x$;$$;$x$", step.PostgreSQL,
			[]string{"DO $$ BEGIN a; END $$", "SELECT $1", "SELECT $x$;$$;$x$"}},
		"a dollar in a name": {"SELECT a$b$c; SELECT 2", step.PostgreSQL, []string{"SELECT a$b$c", "SELECT 2"}},
		"nested comments":    {"SELECT 1 /* a /* b; */ c; */; SELECT 2", step.PostgreSQL, []string{"SELECT 1", "SELECT 2"}},
		"flat comments":      {"SELECT 1 /* a /* b; */; SELECT 2", step.SQLite, []string{"SELECT 1", "SELECT 2"}},
		"a trigger": {
			"CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN UPDATE b SET c = CASE WHEN 1 THEN 2 END; SELECT 1; END; SELECT 2", step.SQLite,
			[]string{"CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN UPDATE b SET c = CASE WHEN 1 THEN 2 END; SELECT 1; END", "SELECT 2"},
		},
		"a function": {
			"CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END; SELECT 2",
			step.PostgreSQL,
			[]string{
				"CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END", "SELECT 2",
			},
		},
		"a trigger of PostgreSQL": {
			"CREATE TRIGGER t AFTER INSERT ON a EXECUTE FUNCTION f(); SELECT 2", step.PostgreSQL,
			[]string{"CREATE TRIGGER t AFTER INSERT ON a EXECUTE FUNCTION f()", "SELECT 2"},
		},
		"a rule": {"CREATE RULE r AS ON INSERT TO a DO (SELECT 1; SELECT 2); SELECT 3", step.PostgreSQL,
			[]string{"CREATE RULE r AS ON INSERT TO a DO (SELECT 1; SELECT 2)", "SELECT 3"}},
		"not ASCII": {"SELECT 'ü', ü; SELECT 2", step.PostgreSQL, []string{"SELECT 'ü', ü", "SELECT 2"}},
		"tables end": {"CREATE TABLE end_begin (begin_ int); SELECT 2", step.SQLite,
			[]string{"CREATE TABLE end_begin (begin_ int)", "SELECT 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			statements, err := step.Split(test.text, test.dialect)
			require.NoError(t, err)
			var texts []string
			for _, s := range statements {
				texts = append(texts, s.Text)
			}
			require.Equal(t, test.want, texts)
		})
	}
}

func TestSplitCountsLines(t *testing.T) {
	t.Parallel()
	statements, err := step.Split("\n-- a\nSELECT '\n';\n\n  SELECT 2;", step.SQLite)
	require.NoError(t, err)
	require.Equal(t, []step.Statement{{Text: "SELECT '\n'", Line: 3}, {Text: "SELECT 2", Line: 6}}, statements)
}

func TestSplitSaysWhatIsOpen(t *testing.T) {
	t.Parallel()
	for text, line := range map[string]int{
		"SELECT 'a": 1, "SELECT 1;\nSELECT \"a": 2, "\n\n/* a": 3, "SELECT $$ a $": 1, "SELECT $a$ b $$": 1, "SELECT E'\\'": 1,
	} {
		_, err := step.Split(text, step.PostgreSQL)
		var syntax *step.SyntaxError
		require.ErrorAs(t, err, &syntax, text)
		require.Equal(t, line, syntax.Line, text)
	}
}

func TestAllow(t *testing.T) {
	t.Parallel()
	for statement, tied := range map[string]bool{
		"BEGIN": false, "start transaction": false, "COMMIT": false, "/* a */ End": false, "ROLLBACK": false, "ABORT": false,
		"ROLLBACK WORK": false, "PREPARE TRANSACTION 'a'": false, "ROLLBACK TO a": true, "rollback work to savepoint a": true,
		"SAVEPOINT a": true, "PREPARE a AS SELECT 1": true, "SELECT 1": true, "CREATE TABLE commit_log (n int)": true,
	} {
		err := step.Allow(statement, step.PostgreSQL, true)
		require.Equal(t, tied, err == nil, statement)
		require.NoError(t, step.Allow(statement, step.PostgreSQL, false), statement)
	}
	for _, statement := range []string{
		"SET ROLE x", "SET LOCAL ROLE x", "SET SESSION ROLE x", "RESET ROLE", "RESET ALL", "SET SESSION AUTHORIZATION x",
		"SET LOCAL SESSION AUTHORIZATION x", "RESET SESSION AUTHORIZATION", "DISCARD ALL",
	} {
		require.ErrorContains(t, step.Allow(statement, step.PostgreSQL, false), "may not change its role", statement)
	}
	require.NoError(t, step.Allow("SET LOCAL lock_timeout = '1s'", step.PostgreSQL, true))
}

// FuzzSplit: whatever it is given, it neither hangs nor panics, and loses nothing but semicolons, space and comments.
func FuzzSplit(f *testing.F) {
	f.Add("SELECT 1; SELECT ';' /* ; */ -- ;\n; CREATE TRIGGER a BEGIN SELECT CASE WHEN 1 THEN 2 END; END;", true)
	f.Add("DO $a$ ; $a$; SELECT E'\\'', $1, a[1], U&'x'", false)
	f.Add("\u00a0ü;\x80", false)
	f.Fuzz(func(t *testing.T, text string, lite bool) {
		dialect := step.PostgreSQL
		if lite {
			dialect = step.SQLite
		}
		statements, err := step.Split(text, dialect)
		if err != nil {
			return
		}
		rest := text
		for _, s := range statements {
			before, after, found := strings.Cut(rest, s.Text)
			if !found || s.Text == "" {
				t.Fatalf("%q is not the next part of %q", s.Text, rest)
			}
			_ = before
			rest = after
			again, err := step.Split(s.Text, dialect)
			if err != nil || len(again) != 1 || again[0].Text != s.Text {
				t.Fatalf("%q comes apart anew: %v %v", s.Text, again, err)
			}
		}
	})
}

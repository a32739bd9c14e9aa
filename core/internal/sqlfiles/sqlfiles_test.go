package sqlfiles_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/sqlfiles"
	"github.com/platformd/platformd/plugin-api/db/step"
)

// folder lays out a module's folder with migrations.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, sqlfiles.Folder), 0o755))
	for name, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, sqlfiles.Folder, name), []byte(content), 0o644))
	}
	return dir
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"0001_posts.up.sql":            "CREATE TABLE p (n int); -- one\nINSERT INTO p VALUES (';');",
		"0001_posts.down.sql":          "DROP TABLE p",
		"0010_index.up.postgres.sql":   "-- platformd: no-transaction\nCREATE INDEX CONCURRENTLY i ON p (n);",
		"0010_index.up.sqlite.sql":     "CREATE INDEX i ON p (n);",
		"0011_special.up.sql":          "SELECT 1",
		"0011_special.up.postgres.sql": "SELECT 2",
		".hidden":                      "is not looked at",
	})
	lite, err := sqlfiles.Load(dir, step.SQLite)
	require.NoError(t, err)
	require.Len(t, lite, 3)
	require.Equal(t, "0001_posts", lite[0].ID)
	require.Equal(t, []string{"CREATE TABLE p (n int)", "INSERT INTO p VALUES (';')"}, lite[0].Up)
	require.Equal(t, []string{"DROP TABLE p"}, lite[0].Down)
	require.Len(t, lite[0].Checksum, 64)
	require.False(t, lite[1].UpUntied)
	require.Nil(t, lite[1].Down)
	require.Equal(t, []string{"SELECT 1"}, lite[2].Up)

	pg, err := sqlfiles.Load(dir, step.PostgreSQL)
	require.NoError(t, err)
	require.True(t, pg[1].UpUntied)
	require.Equal(t, []string{"SELECT 2"}, pg[2].Up)
	require.Equal(t, lite[0].Checksum, pg[0].Checksum)
	require.NotEqual(t, lite[1].Checksum, pg[1].Checksum)
	require.Equal(t, "0010_index", sqlfiles.Declared(pg)[1].ID)
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files map[string]string
		says  string
	}{
		"nothing":    {nil, "migrations holds no migration"},
		"bad name":   {map[string]string{"1_posts.up.sql": "SELECT 1"}, "migrations/1_posts.up.sql: its name is not"},
		"upper case": {map[string]string{"0001_Posts.up.sql": "SELECT 1"}, "its name is not"},
		"down alone": {map[string]string{"0001_a.down.sql": "SELECT 1"}, "there is no 0001_a.up.sql"},
		"one number, twice": {map[string]string{"0001_a.up.sql": "SELECT 1", "0001_b.up.sql": "SELECT 1"},
			"0001_b.up.sql: its number is that of 0001_a"},
		"no statement": {map[string]string{"0001_a.up.sql": "-- later\n;"}, "0001_a.up.sql: it holds no statement"},
		"not text":     {map[string]string{"0001_a.up.sql": "SELECT '\xff'"}, "it is not UTF-8"},
		"zero byte":    {map[string]string{"0001_a.up.sql": "SELECT '\x00'"}, "it is not UTF-8"},
		"too large":    {map[string]string{"0001_a.up.sql": strings.Repeat("-- x\n", 300_000)}, "larger than 1 MiB"},
		"open quote": {map[string]string{"0001_a.up.sql": "SELECT 1;\nSELECT 'a"},
			"0001_a.up.sql:2: the text that begins with ' does not end"},
		"open comment": {map[string]string{"0001_a.up.sql": "SELECT 1; /* \n"}, "0001_a.up.sql:1: the comment"},
		"commit": {map[string]string{"0001_a.up.sql": "SELECT 1;\n\ncommit;"},
			"0001_a.up.sql:3: a migration runs in the platform's transaction"},
		"attach": {map[string]string{"0001_a.up.sql": "ATTACH 'x' AS y"},
			"0001_a.up.sql:1: ATTACH reaches for other files"},
		"pragma": {map[string]string{"0001_a.up.sql": "PRAGMA journal_mode = off"},
			"PRAGMA changes how the file is kept"},
		"pragma, in a comment": {map[string]string{"0001_a.up.sql": "/* a */ pragma foreign_keys(0)"}, "PRAGMA changes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := sqlfiles.Load(folder(t, test.files), step.SQLite)
			require.ErrorContains(t, err, test.says)
			require.ErrorContains(t, err, "fix: ")
		})
	}
	_, err := sqlfiles.Load(t.TempDir(), step.SQLite)
	require.ErrorContains(t, err, "there is no folder migrations (fix: ")
}

func TestLoadFollowsNoLink(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "secret.sql")
	require.NoError(t, os.WriteFile(outside, []byte("SELECT 'secret'"), 0o644))
	dir := folder(t, nil)
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, sqlfiles.Folder, "0001_a.up.sql")))
	_, err := sqlfiles.Load(dir, step.SQLite)
	require.ErrorContains(t, err, "it is not a regular file")

	other := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Dir(outside), filepath.Join(other, sqlfiles.Folder)))
	_, err = sqlfiles.Load(other, step.SQLite)
	require.Error(t, err)
}

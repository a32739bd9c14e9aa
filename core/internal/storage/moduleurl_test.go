package storage

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatAModuleIsToldOfTheURL(t *testing.T) {
	t.Parallel()
	roots := filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t, os.WriteFile(roots, []byte("PEM"), 0o600))
	const app = "application_name=platformd%3Ablog"
	for core, want := range map[string]string{
		"postgres://core:secret@h:5433/d":                              "postgres://me:pw@h:5433/d?" + app,
		"postgresql://h/d?user=core&password=secret":                   "postgresql://me:pw@h/d?" + app,
		"postgres://core@/d?host=%2Frun%2Fpg&passfile=%2Fx":            "postgres://me:pw@/d?" + app + "&host=%2Frun%2Fpg",
		"postgres://h/d?sslmode=verify-full&sslcert=c&sslkey=k":        "postgres://me:pw@h/d?" + app + "&sslmode=verify-full",
		"postgres://h/d?sslrootcert=system":                            "postgres://me:pw@h/d?" + app + "&sslrootcert=system",
		"postgres://h/d?service=s&options=-crole%3Dcore&search_path=x": "postgres://me:pw@h/d?" + app,
		"postgres://h/d?sslmode=verify-ca&sslrootcert=" + roots:        "postgres://me:pw@h/d?" + app + "&sslmode=verify-ca",
	} {
		a, err := parseAddress(core)
		require.NoError(t, err)
		require.Equal(t, want, a.with("me", "pw", "blog"), core)
	}
	a, err := parseAddress("postgres://h/d?sslrootcert=" + roots)
	require.NoError(t, err)
	require.Equal(t, []byte("PEM"), a.roots)
	a, err = parseAddress("postgres://core:secret@h/d?options=x")
	require.NoError(t, err)
	require.Equal(t, "postgres://core:secret@h/d?"+app+"&search_path=blog", a.shared("blog"))
	require.Equal(t, "database d on h", a.String())
}

func TestAURLThatIsNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"postgres://u:hunter2%@h/d", "mysql://u:hunter2@h/d"} {
		_, err := parseAddress(text)
		require.ErrorContains(t, err, "fix:")
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestADaemonKeepsItsID(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	ids := make(chan string, 8)
	for range cap(ids) { // several commands may be the first
		go func() {
			id, err := daemonID(dir)
			if err != nil {
				id = err.Error()
			}
			ids <- id
		}()
	}
	first := <-ids
	require.Regexp(t, "^[0-9a-f]{16}$", first)
	for range cap(ids) - 1 {
		require.Equal(t, first, <-ids)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	info, err := entries[0].Info()
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	require.NoError(t, os.WriteFile(filepath.Join(dir, "daemon.id"), []byte("x"), 0o600))
	_, err = daemonID(dir)
	require.ErrorContains(t, err, "does not hold 16 hex digits (fix: remove it)")
}

func TestNamesFit(t *testing.T) {
	t.Parallel()
	n := names{installation: "01234567"}
	longest := "m2345678901234567890123456789012345678901"
	require.NoError(t, checkSchemaName(longest))
	for _, name := range []string{n.group(longest, Owner), n.group(longest, ReadWrite), n.login(longest)} {
		require.LessOrEqual(t, len(name), 63, name)
	}
	first, second := n.login("blog"), n.login("blog")
	require.NotEqual(t, first, second)
}

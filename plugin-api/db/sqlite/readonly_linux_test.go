package sqlite_test

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

const nobody = 65534

// asNobody runs f without the right to ignore file permissions, which root has.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() == 0 {
		runtime.LockOSThread() // the setting is the thread's
		defer runtime.UnlockOSThread()
		require.NoError(t, syscall.Setfsuid(nobody))
		defer func() { require.NoError(t, syscall.Setfsuid(0)) }()
	}
	f()
}

// publicDir returns a folder that everybody may enter, with mode for itself.
func publicDir(t *testing.T, mode os.FileMode) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	t.Cleanup(func() { require.NoError(t, os.Chmod(dir, 0o755)) })
	require.NoError(t, os.Chmod(dir, mode))
	return dir
}

func TestOpenInAFolderThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	dir := publicDir(t, 0o555)
	for _, path := range []string{filepath.Join(dir, "a.db"), filepath.Join(dir, "sub", "a.db")} {
		var err error
		asNobody(t, func() { _, err = sqlite.Open(t.Context(), path, sqlite.Options{}) })
		require.ErrorIs(t, err, os.ErrPermission)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, "fix: let this user write")
	}
}

func TestOpenAFileThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	dir := publicDir(t, 0o777)
	path := filepath.Join(dir, "a.db")
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	require.NoError(t, sqlite.Close(db))

	require.NoError(t, os.Chmod(path, 0o444))
	asNobody(t, func() { _, err = sqlite.Open(t.Context(), path, sqlite.Options{}) })
	require.ErrorIs(t, err, sqlite.ErrReadOnly)
	require.ErrorContains(t, err, "fix: ")

	require.NoError(t, os.Chmod(path, 0o000))
	asNobody(t, func() { _, err = sqlite.Open(t.Context(), path, sqlite.Options{}) })
	require.ErrorIs(t, err, sqlite.ErrCannotOpen)
}

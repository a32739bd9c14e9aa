package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/platformd/platformd/core/internal/archive"
)

func TestMain(m *testing.M) {
	if act := os.Getenv(envAct); act != "" {
		os.Exit(child(act))
	}
	goleak.VerifyTestMain(m)
}

const platform = "linux/amd64"

// sources are the files of a module's package, all of which tell the version.
func sources(name, version string) []archive.Source {
	executable := []byte("#!/bin/sh\necho " + version + "\n")
	return []archive.Source{
		{Name: "module.yaml", Content: fmt.Appendf(nil, "apiVersion: platformd/v1\nname: %s\nversion: %s\n", name, version)},
		{Name: "bin/linux_amd64/" + name, Executable: true, Content: executable},
		{Name: "bin/linux_arm64/" + name, Executable: true, Content: executable},
		{Name: "web/pages/index.html", Content: []byte("<p>" + version + "</p>\n")},
		{Name: "LICENSE", Content: []byte("Take it.\n")},
	}
}

func packed(t require.TestingT, files []archive.Source) *bytes.Reader {
	var out bytes.Buffer
	require.NoError(t, archive.Write(noDeadline(), &out, files))
	return bytes.NewReader(out.Bytes())
}

// dataDir can be removed again by who is not root, too.
func dataDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	t.Cleanup(func() { require.NoError(t, removeTree(dir)) })
	return dir
}

func opened(t require.TestingT, dir string) *Store {
	s, err := Open(dir)
	require.NoError(t, err)
	return s
}

func staged(t require.TestingT, s *Store, name, version string) *Staged {
	g, err := s.Stage(noDeadline(), packed(t, sources(name, version)), platform)
	require.NoError(t, err)
	return g
}

// entry is what an operator has said of a version, always the same.
func entry(version string) *Entry {
	return &Entry{Version: version, Signer: "A67C5E224D7C9333", Grants: []string{"bus.publish", "bus.subscribe"},
		Installed: time.Date(2026, 11, 1, 0, 0, len(version), 0, time.UTC)}
}

func begun(t require.TestingT, s *Store, c Change) *Tx {
	tx, err := s.Begin(noDeadline(), c)
	require.NoError(t, err)
	return tx
}

func install(t require.TestingT, s *Store, name, version string) {
	g := staged(t, s, name, version)
	require.NoError(t, begun(t, s, Change{To: entry(version), Staged: g, AllowOlder: true}).Commit())
	require.NoError(t, g.Discard())
}

func code(t *testing.T, err error) string {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.NotEmpty(t, e.Message)
	require.NotEmpty(t, e.Fix)
	return e.Code
}

// tree maps what is in a data directory to its modes and contents. A platform on which nothing has ever been installed is one
// on which nothing is.
func tree(t require.TestingT, dir string) map[string]string {
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == dir {
			return nil
		}
		if err != nil {
			return err
		}
		info, infoErr := e.Info()
		name, relErr := filepath.Rel(dir, path)
		var content []byte
		var readErr error
		if !e.IsDir() {
			content, readErr = os.ReadFile(path)
		}
		all[filepath.ToSlash(name)] = info.Mode().String() + " " + string(content)
		return errors.Join(infoErr, readErr, relErr)
	})
	require.NoError(t, err)
	if all[lockName] == "-rw------- {\n  \"modules\": {}\n}\n" {
		delete(all, lockName)
	}
	delete(all, ".")
	delete(all, folderName)
	delete(all, folderName+"/"+stagedName)
	return all
}

// sound makes sure that all that is installed is whole.
func sound(t require.TestingT, s *Store) {
	for name, e := range s.Entries() {
		require.NoError(t, s.Verify(noDeadline(), name, e))
		if e.Previous != nil {
			require.NoError(t, s.Verify(noDeadline(), name, *e.Previous))
		}
	}
}

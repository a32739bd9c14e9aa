package store

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// small is a file system in memory, to be made as large as it must be.
func small(t *testing.T) string {
	t.Helper()
	dir := dataDir(t)
	require.NoError(t, os.Mkdir(dir, 0o700))
	if err := unix.Mount("store-test", dir, "tmpfs", 0, "mode=0700"); err != nil {
		t.Skipf("no file system can be mounted, so no disk can be full: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	return dir
}

// limits are the ways in which a disk can be full: with that many more than what is used.
func limits() map[string]func(used unix.Statfs_t, more uint64) string {
	return map[string]func(used unix.Statfs_t, more uint64) string{
		"bytes": func(used unix.Statfs_t, more uint64) string {
			return fmt.Sprintf("size=%d", (used.Blocks-used.Bfree+more)*uint64(used.Bsize))
		},
		"files": func(used unix.Statfs_t, more uint64) string {
			return fmt.Sprintf("nr_inodes=%d", used.Files-used.Ffree+more)
		},
	}
}

// attempt makes a change as a daemon does: what fails is aborted.
func attempt(s *Store, c Change, version string) error {
	if version != "" {
		g, err := s.Stage(noDeadline(), packed(plain{}, sources("blog", version)), platform)
		if err != nil {
			return err
		}
		defer func() { _ = g.Discard() }()
		c.To, c.Staged = entry(version), g
	}
	tx, err := s.Begin(noDeadline(), c)
	if err != nil {
		return err
	}
	if err := tx.Point(); err != nil {
		return errors.Join(err, tx.Abort())
	}
	if err := tx.Commit(); err != nil {
		return errors.Join(err, tx.Abort())
	}
	return nil
}

// TestAFullDisk makes the disk full at every step of each change, by one block or file after the other that is left.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	for kind, limit := range limits() {
		for _, version := range []string{"1.0.0", ""} {
			t.Run(kind+" "+version, func(t *testing.T) {
				t.Parallel()
				dir := small(t)
				twoVersions(t, opened(t, dir))
				before, failures := tree(t, dir), 0
				var used unix.Statfs_t
				require.NoError(t, unix.Statfs(dir, &used))
				for more := uint64(0); ; more++ {
					require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT, limit(used, more)))
					s := opened(t, dir)
					err := attempt(s, Change{Module: "blog"}, version)
					if err == nil {
						break
					}
					failures++
					require.Equal(t, "store_unusable", code(t, err))
					require.ErrorContains(t, err, "fix: make room")
					require.Equal(t, before, tree(t, dir))
					require.Equal(t, "1.0.0-rc.1", s.Entries()["blog"].Version)
					r, err := s.Recover()
					require.NoError(t, err, "nothing is under way")
					require.Nil(t, r)
				}
				require.Positive(t, failures)
				t.Logf("%d failures", failures)
				require.NotEqual(t, before, tree(t, dir))
				sound(t, opened(t, dir))
			})
		}
	}
}

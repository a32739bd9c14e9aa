// Package store keeps the installed packages of a platform, and which version of each module is chosen.
//
// In the data directory, store/NAME/VERSION holds the files of one version, read-only, with a checksums.txt of their own;
// platformd.lock says which versions are chosen, what they were approved for, and which one a rollback returns to. Stage,
// Begin, Point and Commit install, upgrade, roll back and uninstall. store/journal.json tells of the change that is under way,
// so that Recover, after a kill at any moment, leaves exactly what was before it or exactly what was to be.
//
// Floor 1. It must not run anything of a package, judge signatures or permissions, or know what a module keeps elsewhere:
// callers do, and tell it what to write down. They also hold the lock of the data directory: two processes must not change one
// store.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

const (
	lockName    = "platformd.lock"
	folderName  = "store"
	journalName = "journal.json"
	// stagedName is no module's name, and neither is journalName.
	stagedName = ".staged"
	// next ends the names of files that are not whole yet.
	next = ".new"
)

// The modes of the store's folders. Modules have users of their own, who pass through the upper ones and read a version's.
const (
	passable = fs.FileMode(0o711)
	private  = fs.FileMode(0o700)
	readable = fs.FileMode(0o555)
)

// Store is the installed packages of one data directory. Its methods may be called concurrently.
type Store struct {
	data string // the data directory

	mu      sync.Mutex
	entries map[string]Entry // nil: there is no platformd.lock yet
	// under is the change that is under way: of the Tx that is open, or what a killed process left, for Recover to settle.
	under *journal
	open  *Tx
}

// Open reads what is installed in a data directory, in which nothing need be there. It changes nothing: see Recover. Its
// errors are *Error with the codes "lock_spoilt", "lock_missing", "journal_spoilt" and "store_not_private", or those of the
// disk.
func Open(dataDir string) (*Store, error) {
	dataDir, err := filepath.Abs(dataDir)
	if err != nil {
		return nil, fmt.Errorf("find the data directory: %w", err)
	}
	s := &Store{data: dataDir}
	found, err := s.look()
	if err != nil {
		return nil, err
	}
	if s.entries, err = readLock(s.lockFile()); err != nil {
		return nil, err
	}
	if s.entries == nil && found {
		return nil, &Error{Code: "lock_missing",
			Message: fmt.Sprintf("%s is missing, though there are modules in %s", s.lockFile(), s.folder()),
			Fix:     "restore it from a backup; or remove " + s.folder() + ", and install the modules again"}
	}
	if s.under, err = readJournal(s.journalFile()); err != nil {
		return nil, err
	}
	return s, nil
}

// Entries returns a copy of what is installed, by the modules' names.
func (s *Store) Entries() map[string]Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]Entry, len(s.entries))
	for name, e := range s.entries {
		all[name] = e.clone()
	}
	return all
}

// Dir is the folder of a version, whether it is there or not.
func (s *Store) Dir(name, version string) string { return filepath.Join(s.folder(), name, version) }

// SetGrants writes down what the operator has approved by now, and what not yet. The error's code is "not_installed" without
// such a module, and "change_under_way" while it is being changed.
func (s *Store) SetGrants(name string, grants, pending []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.under != nil && s.under.Module == name {
		return s.underWay()
	}
	e, installed := s.entries[name]
	if !installed {
		return notInstalled(name)
	}
	e = e.clone()
	e.Grants, e.Pending = grants, pending
	return s.write(name, &e, "grants")
}

// write makes one entry of platformd.lock another one; nil removes it.
func (s *Store) write(name string, e *Entry, point string) error {
	entries := maps.Clone(s.entries)
	if entries == nil {
		entries = map[string]Entry{}
	}
	delete(entries, name)
	if e != nil {
		entries[name] = e.clone()
	}
	return s.writeAll(entries, point)
}

// makeLock writes that nothing is installed before anything can be: where there are modules and no platformd.lock, it has been
// lost.
func (s *Store) makeLock() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries != nil {
		return nil
	}
	return s.writeAll(map[string]Entry{}, "begin.lock")
}

func (s *Store) writeAll(entries map[string]Entry, point string) error {
	if err := writeJSON(s.lockFile(), lockContent{entries}, point); err != nil {
		return s.disk("write which modules are installed", err)
	}
	s.entries = entries
	return nil
}

// kept returns the entry of a version that must stay, as it is chosen or the one before; or nil.
func (s *Store) kept(name, version string) *Entry {
	e, installed := s.entries[name]
	switch {
	case installed && e.Version == version:
		return &e
	case installed && e.Previous != nil && e.Previous.Version == version:
		return e.Previous
	}
	return nil
}

func (s *Store) folder() string      { return filepath.Join(s.data, folderName) }
func (s *Store) lockFile() string    { return filepath.Join(s.data, lockName) }
func (s *Store) journalFile() string { return filepath.Join(s.folder(), journalName) }
func (s *Store) staging() string     { return filepath.Join(s.folder(), stagedName) }

// look refuses folders that others could change, and reports whether there are modules in them.
func (s *Store) look() (found bool, err error) {
	names, err := s.modules()
	if err != nil {
		return false, err
	}
	for _, name := range names {
		versions, err := s.versions(name)
		if err != nil {
			return false, err
		}
		for _, version := range versions {
			if checkVersion(version) != nil {
				continue // somebody's file, which Recover removes
			}
			if err := s.private(s.Dir(name, version)); err != nil {
				return false, err
			}
		}
	}
	return len(names) > 0, nil
}

// modules are the names that the store has folders for, sorted.
func (s *Store) modules() ([]string, error) {
	names, err := s.list(s.folder())
	return slices.DeleteFunc(names, func(name string) bool { return !nameRule.MatchString(name) }), err
}

// versions are those that the store has folders for, sorted as text.
func (s *Store) versions(name string) ([]string, error) {
	return s.list(filepath.Join(s.folder(), name))
}

// list returns the names in a folder of the store, which need not be there.
func (s *Store) list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, s.disk("look into the store", err)
	}
	if err := s.private(dir); err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, nil
}

func (s *Store) private(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return s.disk("look into the store", err)
	}
	if !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return &Error{Code: "store_not_private", Message: dir + " is no folder, or others than its owner can write to it",
			Fix: "see who has changed it, then: chmod go-w " + dir + "; and platformd verifies the modules in it"}
	}
	return nil
}

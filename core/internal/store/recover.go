package store

import (
	"errors"
	"fmt"
	"path/filepath"
)

// journal is store/journal.json: the one change that is under way.
type journal struct {
	Module  string `json:"module"`
	Version string `json:"version"` // To's, or the one that is uninstalled
	To      *Entry `json:"to"`      // null: uninstall
	Staged  string `json:"staged,omitempty"`
	Point   bool   `json:"point,omitempty"`
	Purge   bool   `json:"purge,omitempty"`
}

func (j *journal) check() error {
	if err := errors.Join(check(j.Module, j.To), checkVersion(j.Version)); err != nil {
		return err
	}
	if j.Staged != "" && (filepath.Base(j.Staged) != j.Staged || !filepath.IsLocal(j.Staged)) {
		return fmt.Errorf("%q is no name of a folder", j.Staged)
	}
	return nil
}

// readJournal returns nil if nothing is under way.
func readJournal(path string) (*journal, error) {
	var j journal
	there, err := readJSON(path, &j)
	if !there && err == nil {
		return nil, nil
	}
	if err == nil {
		err = j.check()
	}
	if err != nil {
		return nil, &Error{Code: "journal_spoilt", Err: err,
			Message: fmt.Sprintf("read which change was under way, in %s: %v", path, err),
			Fix:     "remove the file: then what platformd.lock says counts"}
	}
	return &j, nil
}

// Recovered is a change that a killed process has left.
type Recovered struct {
	Module, Version string
	// Finished tells that it has been finished, as it had passed its Point or was all but done; otherwise it has been undone.
	Finished bool
	// Purge tells that the data of the module, which is uninstalled, is still to be removed. Store.Purged says when it is.
	Purge bool
}

// Recover settles what a killed process has left, if anything, and removes versions that nothing refers to. It is called
// first, before there is a Staged of this or another process, and may be called again. It returns nil if there was nothing to
// settle. An uninstalled module whose data is still to be removed is returned by every call until Purged.
func (s *Store) Recover() (*Recovered, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != nil {
		return nil, s.underWay()
	}
	var done *Recovered
	if s.under != nil {
		finished, err := s.settle(*s.under)
		if err != nil {
			return nil, err
		}
		done = &Recovered{Module: s.under.Module, Version: s.under.Version, Finished: finished, Purge: finished && s.under.Purge}
	}
	if err := s.sweepAll(); err != nil {
		return nil, &Error{Code: "store_unusable", Err: err, Message: "remove what a change of the store has left: " + err.Error(),
			Fix: "see that the disk of " + s.data + " is well, and run as the user that owns it"}
	}
	failpoint("recover.swept")
	if done != nil && !done.Purge {
		if err := s.removeJournal(); err != nil {
			return nil, err
		}
		failpoint("recover.journal")
	}
	return done, nil
}

// settle finishes a change, or makes sure that it has not begun.
func (s *Store) settle(j journal) (finished bool, err error) {
	var chosen *Entry
	if e, installed := s.entries[j.Module]; installed {
		chosen = &e
	}
	if j.Staged != "" && s.kept(j.Module, j.Version) != nil {
		if err := s.repair(j); err != nil {
			return false, s.disk("put the package into the store", err)
		}
	}
	switch {
	case same(chosen, j.To):
		return true, nil
	case j.Point:
		return true, s.write(j.Module, j.To, "recover.lock")
	}
	return false, nil
}

// repair makes sure that a version is in its place that must stay, was spoilt, and was being replaced by its package.
func (s *Store) repair(j journal) error {
	dir := s.Dir(j.Module, j.Version)
	if exists(dir) {
		return finishFolder(dir)
	}
	return s.moveIn(j)
}

// Purged says that the data of an uninstalled module is gone, of which Recover has told. Nothing is done without such a module.
func (s *Store) Purged() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.under == nil {
		return nil
	}
	if _, installed := s.entries[s.under.Module]; installed || !s.under.Purge {
		return s.underWay()
	}
	return s.removeJournal()
}

func (s *Store) removeJournal() error {
	if err := removeFile(s.journalFile()); err != nil {
		return s.disk("end the change of the store", err)
	}
	s.under, s.open = nil, nil
	return nil
}

// sweep removes what is in a module's folder but for the version that is chosen and the one before.
func (s *Store) sweep(name string) error {
	versions, err := s.versions(name)
	left := len(versions)
	for _, version := range versions {
		if s.kept(name, version) != nil {
			continue
		}
		if failed := removeTree(s.Dir(name, version)); failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		failpoint("sweep.version")
		left--
	}
	if err == nil && left == 0 {
		err = removeFile(filepath.Join(s.folder(), name))
	}
	return err
}

// sweepAll also removes what was staged, and files that were not whole.
func (s *Store) sweepAll() error {
	err := errors.Join(removeFile(s.lockFile()+next), removeFile(s.journalFile()+next))
	staged, failed := s.list(s.staging())
	err = errors.Join(err, failed)
	for _, name := range staged {
		err = errors.Join(err, removeTree(filepath.Join(s.staging(), name)))
		failpoint("recover.staged")
	}
	names, failed := s.modules()
	err = errors.Join(err, failed)
	for _, name := range names {
		err = errors.Join(err, s.sweep(name))
	}
	return err
}

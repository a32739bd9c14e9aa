package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/Masterminds/semver/v3"
)

// Change is what is to become of one module.
type Change struct {
	// Module need not be given with Staged, whose name counts.
	Module string
	// To is what is to be installed; nil uninstalls. With Staged its Version, SHA256 and Contents are those of the package. Its
	// Installed is now unless it is given, and its Previous is what has been installed before.
	To *Entry
	// Staged is the package; nil if the version is in the store already, as the previous one of a rollback is.
	Staged *Staged
	// AllowOlder takes a package with an older version than the chosen one.
	AllowOlder bool
	// Purge says of an uninstalled module that its data is to go, too: the change goes on after Commit, until Purged.
	Purge bool
}

// Tx is a change that is under way. Its methods may be called concurrently with those of the Store.
type Tx struct {
	s *Store
	journal
	from *Entry // nil if it was not installed
	// committed says that it is done, but for the data that is to be purged, and ended that nothing is under way any more.
	committed, ended bool
}

// Check returns the error that Begin would refuse the change with: one with the code "older_version", "other_contents" (a
// version is what it was), "already_installed" (the very package, which is sound), "not_installed", "store_spoilt" (of a
// rollback) or "change_under_way".
func (s *Store) Check(ctx context.Context, c Change) error {
	t, err := s.draft(c, false)
	if err == nil {
		_, err = t.judge(ctx, c)
	}
	return err
}

// Begin writes down what is to be done and puts the package's files where they belong; what is chosen stays the same until
// Commit. It refuses what Check does. After an error everything is as before, but for a Staged, which may be gone.
func (s *Store) Begin(ctx context.Context, c Change) (*Tx, error) {
	t, err := s.draft(c, true)
	if err != nil {
		return nil, err
	}
	sound, err := t.judge(ctx, c)
	if err == nil {
		err = t.begin(c.Staged, sound)
	}
	if err != nil {
		return nil, errors.Join(err, t.Abort())
	}
	return t, nil
}

// draft says in full what a change is. If it is claimed, it is under way from that moment.
func (s *Store) draft(c Change, claim bool) (*Tx, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.under != nil {
		return nil, s.underWay()
	}
	t := &Tx{s: s, journal: journal{Module: c.Module, Purge: c.Purge}}
	if c.To != nil {
		to := *c.To
		t.To = &to
	}
	if c.Staged != nil {
		if t.To == nil {
			return nil, errors.New("a package cannot be uninstalled that is being installed")
		}
		m := c.Staged.Package().Manifest
		t.Module, t.To.Version, t.To.SHA256, t.To.Contents = m.Name, m.Version, c.Staged.Package().SHA256, c.Staged.Contents()
	}
	if e, installed := s.entries[t.Module]; installed {
		e = e.clone()
		t.from = &e
	} else if c.Staged == nil {
		return nil, notInstalled(t.Module)
	}
	if err := t.complete(); err != nil {
		return nil, err
	}
	if claim {
		s.under, s.open = &t.journal, t
	}
	return t, nil
}

func (t *Tx) complete() error {
	if t.To == nil {
		t.Version = t.from.Version
		return nil
	}
	if t.Purge {
		return errors.New("only of a module that is uninstalled can the data be purged")
	}
	t.Version = t.To.Version
	if t.To.Installed.IsZero() {
		t.To.Installed = time.Now()
	}
	t.To.Previous = nil
	switch {
	case t.from == nil:
	case t.from.Version == t.Version:
		t.To.Previous = t.from.Previous
	default:
		previous := *t.from
		previous.Previous = nil
		t.To.Previous = &previous
	}
	to := t.To.clone()
	t.To = &to
	return t.check()
}

// judge refuses what must not be, and reports whether the version lies in the store as it should.
func (t *Tx) judge(ctx context.Context, c Change) (sound bool, err error) {
	if t.To == nil {
		return true, nil
	}
	if c.Staged != nil && !c.AllowOlder && t.from != nil && older(t.Version, t.from.Version) {
		return false, &Error{Code: "older_version",
			Message: fmt.Sprintf("%s %s is older than %s, which is installed", t.Module, t.Version, t.from.Version),
			Fix:     "to return to the version before: platformd rollback " + t.Module + "; to install this one: --allow-downgrade"}
	}
	t.s.mu.Lock()
	there := t.s.kept(t.Module, t.Version)
	t.s.mu.Unlock()
	switch {
	case there == nil && c.Staged != nil:
		return false, nil
	case there == nil:
		return false, &Error{Code: "not_installed", Message: fmt.Sprintf("there is no %s %s in the store", t.Module, t.Version),
			Fix: "install its package"}
	case there.Contents != t.To.Contents:
		return false, &Error{Code: "other_contents",
			Message: fmt.Sprintf("%s %s is in the store with other contents than this package's", t.Module, t.Version),
			Fix:     "raise the version in module.yaml, and pack again: a version stays what it was"}
	}
	err = t.s.Verify(ctx, t.Module, *there)
	if err != nil && (c.Staged == nil || !hasCode(err, "store_spoilt")) {
		return false, err
	}
	chosen := t.from.Version == t.Version && t.from.SHA256 == t.To.SHA256
	if sound = err == nil; sound && chosen && t.from.Signer == t.To.Signer && t.from.Replaces == t.To.Replaces {
		return true, &Error{Code: "already_installed", Message: fmt.Sprintf("%s %s is installed already", t.Module, t.Version),
			Fix: "nothing is to be done"}
	}
	return sound, nil
}

// older compares by the rules of semantic versions, in which what follows a + does not count.
func older(a, b string) bool {
	versionA, errA := semver.StrictNewVersion(a)
	versionB, errB := semver.StrictNewVersion(b)
	return errA == nil && errB == nil && versionA.LessThan(versionB)
}

// begin does what Begin promises, the journal first. A version that is sound in the store stays; modules may be running from
// it.
func (t *Tx) begin(staged *Staged, sound bool) error {
	if staged != nil && !sound {
		t.Staged = filepath.Base(staged.outer)
	}
	if err := t.s.makeLock(); err != nil {
		return err
	}
	if err := t.write("begin"); err != nil {
		return err
	}
	if staged == nil {
		return nil
	}
	if !sound {
		if err := t.s.moveIn(t.journal); err != nil {
			return t.s.disk("put the package into the store", err)
		}
	}
	failpoint("begin.moved")
	if err := staged.Discard(); err != nil {
		return err
	}
	failpoint("begin.done")
	return nil
}

// moveIn puts a staged version into its place. What is there is an orphan, or spoilt.
func (s *Store) moveIn(j journal) error {
	outer, dir := filepath.Join(s.staging(), j.Staged), s.Dir(j.Module, j.Version)
	if err := makeFolder(filepath.Dir(dir), passable); err != nil {
		return err
	}
	failpoint("begin.folder")
	away := filepath.Join(outer, aside)
	there := exists(dir)
	if there {
		if err := relocate(dir, away); err != nil {
			return err
		}
		failpoint("begin.aside")
	}
	err := place(filepath.Join(outer, j.Module), dir)
	if err != nil && there && !exists(dir) {
		err = errors.Join(err, place(away, dir))
	}
	return err
}

func place(from, dir string) error {
	if err := relocate(from, dir); err != nil {
		return err
	}
	failpoint("begin.renamed")
	return finishFolder(dir)
}

// finishFolder makes the folder of a version in its place read-only, as all below it is.
func finishFolder(dir string) error { return errors.Join(os.Chmod(dir, readable), syncFolder(dir)) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Point is called before the first thing that cannot be undone, a migration: if the process is killed from here on, Recover
// finishes the change, and does not undo it. After an error that thing must not be done; Abort.
func (t *Tx) Point() error {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.committed || t.ended {
		return errEnded
	}
	t.journal.Point = true
	return t.write("point")
}

var errEnded = errors.New("the change of the store has ended")

// Commit chooses what was to be. Versions that are neither chosen nor the one before are removed: none of their processes may
// run. After an error what was chosen before counts; Abort.
func (t *Tx) Commit() error {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.committed || t.ended {
		return errEnded
	}
	if err := t.s.write(t.Module, t.To, "commit.lock"); err != nil {
		return err
	}
	failpoint("commit.chosen")
	if !t.Purge {
		if err := t.end(); err != nil {
			return err
		}
		failpoint("commit.ended")
	}
	t.committed = true
	_ = t.s.sweep(t.Module) // what stays is in nobody's way: Recover tries again
	failpoint("commit.swept")
	return nil
}

// Abort makes everything as it was before Begin. That is allowed after Point, too: who is alive has seen the new version fail,
// and the old one serve on. Nothing is done after Commit, or another Abort. After an error Recover will settle it.
func (t *Tx) Abort() error {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.committed || t.ended {
		return nil
	}
	if err := t.unchoose(); err != nil {
		return err
	}
	if err := t.end(); err != nil { // from here on a killed process has aborted, though Point has been passed
		return err
	}
	failpoint("abort.ended")
	_ = t.s.sweep(t.Module) // as Commit does
	failpoint("abort.swept")
	return nil
}

// unchoose undoes what a Commit that failed may have written. It writes nothing otherwise: the disk may be full.
func (t *Tx) unchoose() error {
	entries, err := readLock(t.s.lockFile())
	if err != nil {
		return err
	}
	var chosen *Entry
	if e, installed := entries[t.Module]; installed {
		chosen = &e
	}
	if same(chosen, t.from) {
		return nil
	}
	return t.s.write(t.Module, t.from, "abort.lock")
}

// Purged says after Commit that the data of an uninstalled module is gone.
func (t *Tx) Purged() error { return t.s.Purged() }

// end removes the journal.
func (t *Tx) end() error {
	if err := t.s.removeJournal(); err != nil {
		return err
	}
	t.ended = true
	return nil
}

func (t *Tx) write(point string) error {
	if err := writeJSON(t.s.journalFile(), t.journal, point); err != nil {
		return t.s.disk("write down what is to be done", err)
	}
	failpoint(point + ".journal")
	return nil
}

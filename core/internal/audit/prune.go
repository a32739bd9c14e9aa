package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/problem"
)

const (
	// minAge is the least age of what is removed: a slip of the pen must not cost the log.
	minAge = 24 * time.Hour
	// pruneBatch is how many rows one transaction removes, while nobody can write.
	pruneBatch = 2000
	pruneEvery = 24 * time.Hour
)

var errTooYoung = problem.Invalid(
	"audit rows are kept for a day at least (fix: choose a longer retention, or 0 to keep them for ever)",
)

// pruneDaily removes what is too old, now and each day from now on.
func (s *Service) pruneDaily(ctx context.Context) {
	due := time.NewTicker(pruneEvery)
	defer due.Stop()
	for {
		removed, err := s.Prune(ctx, s.Retention)
		switch {
		case err != nil && ctx.Err() == nil:
			s.Log.Error("old audit rows could not be removed; trying again tomorrow", "removed", removed, "error", err)
		case removed > 0:
			s.Log.Info("old audit rows were removed", "removed", removed)
		}
		select {
		case <-ctx.Done():
			return
		case <-due.C:
		}
	}
}

// Prune removes the rows that are older than so long, up to the first that is not, and returns how many they were; an error may
// come after some. What is left can still be verified: an anchor takes the place of what is gone, and a row (ActionPruned) tells
// of it. A chain that is broken there is left as it is, with a *BrokenError. Several daemons may prune at once.
func (s *Service) Prune(ctx context.Context, olderThan time.Duration) (removed int64, err error) {
	if olderThan < minAge {
		return 0, errTooYoung
	}
	before := s.now().Add(-olderThan).UnixMicro()
	for {
		count, err := s.pruneSome(ctx, before)
		removed += count
		if err != nil {
			return removed, fmt.Errorf("remove old audit rows: %w", err)
		}
		if count == 0 {
			return removed, nil
		}
		s.written.notify()
	}
}

// pruneSome removes up to pruneBatch rows.
func (s *Service) pruneSome(ctx context.Context, before int64) (count int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.commitWait)
	defer cancel()
	err = s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		end, err := lockHead(tx)
		if err != nil {
			return err
		}
		last, err := newestAnchor(tx)
		if err != nil {
			return err
		}
		old := stretch{checker: checker{seq: last.Seq, hash: last.Hash}, before: before, most: last.Seq + pruneBatch}
		if err := old.walk(tx, &end); err != nil || old.seq == last.Seq {
			return err
		}
		count = old.seq - last.Seq
		next := &anchor{N: last.N + 1, Seq: old.seq, Hash: old.hash, At: s.now().UnixMicro()}
		next.Link = next.link(last.Link)
		return s.replace(tx, &end, last.Seq, next)
	})
	return count, err
}

// newestAnchor is the one that the chain begins after; of a whole chain, it is one of no rows.
func newestAnchor(tx *gorm.DB) (*anchor, error) {
	last := &anchor{Hash: make([]byte, len(Hash{})), Link: make([]byte, len(Hash{}))}
	err := tx.Order("n DESC").Take(last).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		err = nil
	}
	return last, err
}

// replace puts an anchor in the place of the rows after from and up to the anchor's.
func (s *Service) replace(tx *gorm.DB, end *head, from int64, a *anchor) error {
	gone := tx.Where("seq <= ?", a.Seq).Delete(&row{})
	if gone.Error != nil {
		return gone.Error
	}
	if gone.RowsAffected != a.Seq-from {
		return &BrokenError{*breakAt(from+1, "%d rows are there up to %d, instead of %d", gone.RowsAffected, a.Seq, a.Seq-from)}
	}
	if err := tx.Create(a).Error; err != nil {
		return err
	}
	told := s.stamp(Entry{Actor: itself(), Action: ActionPruned, Outcome: Done, Details: a.seal(from + 1)})
	return end.append(tx, []row{told})
}

// stretch is the rows at the beginning of the chain that are to go.
type stretch struct {
	checker
	before int64 // microseconds: what is younger stays, and all that comes after it
	most   int64 // the last seq that may go
}

// walk goes along them. It looks at the first that stays too, or at the head: they say what the hash of the last that goes was.
func (s *stretch) walk(tx *gorm.DB, end *head) error {
	more := true
	broken, err := walk(tx, func(r *row) *Break {
		if !more {
			return nil // the rest of a page
		}
		next := s.checker
		if broken := next.next(r); broken != nil {
			return broken
		}
		if more = r.At < s.before && r.Seq <= s.most; more {
			s.checker = next
		}
		return nil
	}, func() bool { return more })
	switch {
	case err != nil:
		return err
	case broken == nil && more && (s.seq != end.Seq || !bytes.Equal(s.hash, end.Hash)):
		broken = breakAt(s.seq, "the head of the chain, at %d, does not follow it", end.Seq)
	}
	if broken != nil {
		return &BrokenError{*broken}
	}
	return nil
}

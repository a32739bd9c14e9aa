package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/postgres"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
	"github.com/platformd/platformd/plugin-api/link"
)

// pending is an entry on its way.
type pending struct {
	row     row
	arrival int64
	done    chan error // has room for one; nil: nobody waits
	claimed atomic.Bool
}

// claim is true for one caller: for the writer, who then answers, or for the one who waited, who then goes without a row.
func (p *pending) claim() bool { return p.claimed.CompareAndSwap(false, true) }

// Run writes what Write and TryWrite want written until ctx ends, and then what is left, for a few seconds at most. It is the
// only one who writes; it must run once.
func (s *Service) Run(ctx context.Context) error {
	if !s.running.CompareAndSwap(false, true) {
		return errors.New("the audit log's Run was called twice (fix: call it once)")
	}
	defer close(s.ended)
	var all sync.WaitGroup
	defer all.Wait()
	if s.Retention > 0 {
		all.Go(func() { s.pruneDaily(ctx) })
	}
	outage := &outage{log: s.Log}
	report, late := time.NewTicker(reportEvery), time.NewTicker(tryWait)
	defer report.Stop()
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			s.finish(context.WithoutCancel(ctx), outage)
			return nil
		case p := <-s.writes:
			outage.tell(s.commit(ctx, s.gather(p)))
		case <-s.many:
			outage.tell(s.commit(ctx, s.gather(nil)))
		case <-late.C:
			outage.tell(s.commit(ctx, s.gather(nil)))
		case <-report.C:
			outage.tell(s.reportDropped(ctx))
		}
	}
}

// finish writes what is left. Nobody waits for a database that is away.
func (s *Service) finish(ctx context.Context, outage *outage) {
	ctx, cancel := context.WithTimeout(ctx, s.commitWait)
	defer cancel()
	err := error(nil)
	for err == nil {
		batch := s.gather(nil) // what is gathered must be answered
		if len(batch) == 0 {
			break
		}
		err = s.commit(ctx, batch)
		outage.tell(err)
	}
	if err == nil {
		err = s.reportDropped(ctx)
	}
	if lost := s.dropped.Load() + int64(len(s.tries)); lost > 0 {
		s.Log.Warn("audit rows are lost, and no row tells of it", "count", lost, "error", err)
	}
}

// gather takes what waits, first if it is not nil, and Write's before TryWrite's.
func (s *Service) gather(first *pending) []*pending {
	defer s.wakeForMany()
	var batch []*pending
	if first != nil && first.claim() {
		batch = append(batch, first)
	}
	for len(batch) < batchSize {
		var next *pending
		select {
		case next = <-s.writes:
		default:
			select {
			case next = <-s.tries:
			default:
				return batch
			}
		}
		if next.claim() {
			batch = append(batch, next)
		}
	}
	return batch
}

// wakeForMany has Run write what TryWrite has gathered before it is late, if there is a batch of it.
func (s *Service) wakeForMany() {
	if len(s.tries) < batchSize {
		return
	}
	select {
	case s.many <- struct{}{}:
	default:
	}
}

// commit writes a batch, in the order in which its entries came, and answers those who wait. It goes on if ctx ends: what was
// begun is finished.
func (s *Service) commit(ctx context.Context, batch []*pending) error {
	if len(batch) == 0 {
		return nil
	}
	slices.SortFunc(batch, func(a, b *pending) int { return cmp.Compare(a.arrival, b.arrival) })
	rows := make([]row, len(batch))
	for i, p := range batch {
		rows[i] = p.row
	}
	err := s.append(context.WithoutCancel(ctx), rows)
	for _, p := range batch {
		switch {
		case p.done != nil:
			p.done <- err
		case err != nil:
			s.dropped.Add(1)
		}
	}
	return err
}

// reportDropped adds a row about what no row could be written about.
func (s *Service) reportDropped(ctx context.Context) error {
	count := s.dropped.Swap(0)
	if count == 0 {
		return nil
	}
	entry := Entry{
		Actor: itself(), Action: ActionDropped, Outcome: Failed, Details: Details("count", strconv.FormatInt(count, 10)),
	}
	if err := s.append(context.WithoutCancel(ctx), []row{s.stamp(entry)}); err != nil {
		s.dropped.Add(count)
		return err
	}
	s.Log.Warn("audit rows were dropped: more came than could be written", "count", count)
	return nil
}

func itself() link.Principal { return link.Principal{Kind: KindCore, Name: "platformd"} }

// append adds rows to the chain, in one transaction.
func (s *Service) append(ctx context.Context, rows []row) error {
	ctx, cancel := context.WithTimeout(ctx, s.commitWait)
	defer cancel()
	var err error
	for {
		committing := false
		err = s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			end, err := lockHead(tx)
			if err == nil {
				err = end.append(tx, rows)
			}
			committing = err == nil
			return err
		})
		switch {
		case err == nil:
			s.written.notify()
			return nil
		case committing:
			return fmt.Errorf("%w: %w", ErrUncertain, err)
		case ctx.Err() != nil || !errors.Is(err, sqlite.ErrBusy) && !errors.Is(err, postgres.ErrSerialization):
			return fmt.Errorf("%w: %w", ErrNotWritten, err)
		}
	}
}

// lockHead makes tx the only one that may append, for its length. SQLite's transactions are alone from their beginning.
func lockHead(tx *gorm.DB) (end head, err error) {
	query := "SELECT id, seq, hash FROM audit_head WHERE id = 1"
	if tx.Name() == backend.PostgreSQL {
		// A daemon whose machine has gone must not keep the lock until TCP notices.
		query = "SELECT id, seq, hash, set_config('idle_in_transaction_session_timeout', '10s', true) " +
			"FROM audit_head WHERE id = 1 FOR UPDATE"
	}
	found := tx.Raw(query).Scan(&end)
	if found.Error == nil && found.RowsAffected != 1 {
		return end, errors.New("the head of the audit chain is gone: somebody has deleted it (fix: restore a backup)")
	}
	return end, found.Error
}

// append chains rows to the head.
func (h *head) append(tx *gorm.DB, rows []row) error {
	for i := range rows {
		rows[i].follow(h.Seq, h.Hash)
		h.Seq, h.Hash = rows[i].Seq, rows[i].Hash
	}
	if err := insertRows(tx, rows); err != nil {
		if errors.Is(err, gorm.ErrDuplicatedKey) {
			err = fmt.Errorf("there are audit rows beyond the head of the chain (fix: see `platformd audit verify`): %w", err)
		}
		return err
	}
	return tx.Model(h).Where("id = 1").Updates(map[string]any{"seq": h.Seq, "hash": h.Hash}).Error
}

// outage logs the first of many failures, and the end of them.
type outage struct {
	log  interface{ Error(string, ...any) }
	away bool
}

func (o *outage) tell(err error) {
	if err != nil && !o.away {
		o.log.Error("audit rows cannot be written; whoever needs one is told so", "error", err)
	}
	o.away = err != nil
}

// broadcast wakes all who wait. The zero value is usable.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

// next is closed by the next notify.
func (b *broadcast) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) notify() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

package storage

import (
	"context"
	"errors"
	"slices"
	"time"

	"gorm.io/gorm"
)

// retry is how soon what the database did not do is tried again.
const retry = 5 * time.Second

// run renews what is in use, and takes back what is not, until ctx ends.
func (s *server) run(ctx context.Context) {
	due := time.NewTimer(renewal)
	defer due.Stop()
	again := time.NewTimer(0) // something may have been released before
	defer again.Stop()
	outage := &outage{server: s}
	for {
		select {
		case <-ctx.Done():
			ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWait)
			defer cancel()
			if err := s.endAll(ending); err != nil {
				s.Log.Warn("some logins of modules are left in the database; the next start takes them back", "error", err)
			}
			return
		case <-due.C:
			due.Reset(outage.next(s.renewAll(ctx), renewal))
		case <-s.wake:
			again.Reset(0)
		case <-again.C:
			if err := s.endReleased(ctx); outage.next(err, 0) > 0 {
				again.Reset(retry)
			}
		}
	}
}

// outage tells once that the database is away, and once that it is back.
type outage struct {
	server *server
	away   bool
}

// next is when to go on: after regular if all is well, else soon.
func (o *outage) next(err error, regular time.Duration) time.Duration {
	switch {
	case err == nil && o.away:
		o.away = false
		o.server.Log.Info("the logins of modules are kept valid again")
	case err != nil && !o.away && !errors.Is(err, context.Canceled):
		o.away = true
		o.server.Log.Error("the logins of modules cannot be kept valid; trying again", "error", err)
	}
	if err != nil {
		return retry
	}
	return regular
}

// endReleased takes back what was released; what it cannot stays released. A stop lets it finish: the server may go on with what
// is canceled, beside what comes next.
func (s *server) endReleased(ctx context.Context) error {
	s.mu.Lock()
	released := s.released
	s.released = nil
	s.mu.Unlock()
	if len(released) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWait)
	defer cancel()
	err := s.end(ctx, released)
	if err != nil {
		s.mu.Lock()
		s.released = append(s.released, released...)
		s.mu.Unlock()
	}
	return err
}

// endAll takes back every login of this daemon.
func (s *server) endAll(ctx context.Context) error {
	s.mu.Lock()
	all := s.released
	for _, session := range s.live {
		all = append(all, session)
	}
	s.released = nil
	s.mu.Unlock()
	return s.end(ctx, all)
}

// renewAll makes every login in use valid for longer, and takes back those that nobody renews any more.
func (s *server) renewAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loginWait)
	defer cancel()
	s.mu.Lock()
	sessions := make([]*session, 0, len(s.live))
	for _, session := range s.live {
		sessions = append(sessions, session)
	}
	s.mu.Unlock()
	for batch := range slices.Chunk(sessions, 50) {
		err := s.transaction(ctx, func(tx *gorm.DB) error {
			for _, session := range batch {
				if err := s.renew(tx, session); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return s.sweep(ctx)
}

// renew makes a login again if another daemon has taken it back: it was not renewed in time, as when a machine sleeps.
func (s *server) renew(tx *gorm.DB, made *session) error {
	s.mu.Lock()
	_, wanted := s.live[made.role]
	s.mu.Unlock()
	if !wanted {
		return nil // released since
	}
	expires, err := expiry(tx)
	if err != nil {
		return err
	}
	updated := tx.Model(&loginRow{}).Where("role = ?", made.role).Update("expires_at", expires)
	switch exists, err := roleExists(tx, made.role); {
	case updated.Error != nil || err != nil:
		return errors.Join(updated.Error, err)
	case updated.RowsAffected > 0 && exists:
		return tx.Exec("ALTER ROLE " + ident(made.role) + " LOGIN VALID UNTIL " + timestamp(expires)).Error
	case updated.RowsAffected > 0:
		if err := tx.Delete(&loginRow{}, "role = ?", made.role).Error; err != nil {
			return err
		}
	}
	return s.create(tx, made)
}

// sweep takes back the logins that nobody has renewed.
func (s *server) sweep(ctx context.Context) error {
	return s.sweepWhere(ctx, "expires_at < clock_timestamp() - make_interval(secs => ?)", grace.Seconds())
}

// sweepOwn takes back, at start, what this daemon left when it was killed, and what others did.
func (s *server) sweepOwn(ctx context.Context) error {
	return s.sweepWhere(ctx, "daemon = ? OR expires_at < clock_timestamp() - make_interval(secs => ?)", s.daemon, grace.Seconds())
}

// sweepWhere logs what it cannot take back, such as a role that owns something in another database: it can do no harm any more.
func (s *server) sweepWhere(ctx context.Context, condition string, args ...any) error {
	var rows []loginRow
	if err := s.db.WithContext(ctx).Where(condition, args...).Find(&rows).Error; err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(row loginRow) bool { return s.uses(row.Role) })
	ctx, cancel := context.WithTimeout(ctx, endWait)
	defer cancel()
	if err := s.retire(ctx, rows); err != nil {
		s.Log.Warn("a login that is left over cannot be taken back", "error", err)
	}
	return nil
}

func (s *server) uses(role string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, live := s.live[role]
	return live
}

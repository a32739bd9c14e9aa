package migrate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/platformd/platformd/core/internal/storage"
)

const (
	// lease is after how long without a sign of life a holder counts as gone; it gives one every renewal.
	lease   = 15 * time.Second
	renewal = 5 * time.Second
	// patience is how long a lock is waited for: longer than a lease, so that a holder that was killed holds up nobody for good.
	patience = 30 * time.Second
	// look is how often a lock that somebody has is tried.
	look = 100 * time.Millisecond
	// releaseTimeout bounds giving a lock back; if it cannot be, it runs out.
	releaseTimeout = 5 * time.Second
)

// errLost ends a migration whose lock somebody else may have by now.
var errLost = errors.New("the migration's lock could not be kept " +
	"(fix: see that the database can be reached; the next start goes on)")

// locks are rows in the core's database, where no module can take or hold one.
type locks struct {
	db       *gorm.DB
	daemon   string // whose process this is: only one at a time runs on a data directory
	holder   string // for people
	patience time.Duration
	lease    time.Duration
	renewal  time.Duration
}

// lock is a row of the table: who migrates a module.
type lock struct {
	Module    string `gorm:"primaryKey;size:41"`
	Token     string `gorm:"size:32;not null"` // of one run
	Daemon    string `gorm:"size:32;not null"`
	Holder    string `gorm:"not null"`
	Since     time.Time
	ExpiresAt time.Time `gorm:"not null"`
}

// TableName implements gorm's schema.Tabler.
func (lock) TableName() string { return "migration_locks" }

// openLocks makes the table, and gives up what an earlier process of this daemon left: none but us is on its data directory.
func openLocks(ctx context.Context, s *storage.Storage, dir string) (*locks, error) {
	err := storage.MigrateCore(s.Core(), "migrate", storage.CoreStep{ID: "0001_locks", Up: func(tx *gorm.DB) error {
		return tx.Migrator().CreateTable(&lock{})
	}})
	if err != nil {
		return nil, err
	}
	if err := s.Core().WithContext(ctx).Delete(&lock{}, "daemon = ?", s.DaemonID()).Error; err != nil {
		return nil, fmt.Errorf("give up old migration locks: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	return &locks{
		db: s.Core(), daemon: s.DaemonID(), holder: fmt.Sprintf("%s, pid %d, data directory %s", host, os.Getpid(), dir),
		patience: patience, lease: lease, renewal: renewal,
	}, nil
}

// acquire waits until nobody else migrates the module, for as long as patience lasts: then the error is a *LockedError. The
// context that it returns ends when the lock is lost. release must be called.
func (l *locks) acquire(ctx context.Context, module string) (held context.Context, release func() error, err error) {
	token := rand.Text()
	if err := l.await(ctx, module, token); err != nil {
		return nil, nil, err
	}
	held, lose := context.WithCancelCause(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() {
		if err := l.renew(held, module, token); err != nil {
			lose(err)
		}
	})
	return held, func() error {
		lose(nil)
		renewing.Wait()
		return l.release(context.WithoutCancel(ctx), module, token)
	}, nil
}

// await tries until it has the lock.
func (l *locks) await(ctx context.Context, module, token string) error {
	deadline := time.NewTimer(l.patience)
	defer deadline.Stop()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		taken, err := l.try(ctx, module, token)
		switch {
		case taken:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("module %s is being migrated already: %w", module, ctx.Err())
		case err != nil:
			return err
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return l.locked(ctx, module)
		case <-ctx.Done():
			return fmt.Errorf("module %s is being migrated already: %w", module, ctx.Err())
		}
	}
}

// now is the database's own time: those who compare it may be on hosts whose clocks differ.
func (l *locks) now() clause.Expr { return l.in(0) }

func (l *locks) in(d time.Duration) clause.Expr {
	if l.db.Name() == "postgres" {
		return gorm.Expr("clock_timestamp() + ? * interval '1 second'", d.Seconds())
	}
	return gorm.Expr("?", l.db.NowFunc().Add(d)) // one host
}

// try takes the lock if it is free, or has run out.
func (l *locks) try(ctx context.Context, module, token string) (taken bool, err error) {
	result := l.db.WithContext(ctx).Exec(
		"INSERT INTO migration_locks (module, token, daemon, holder, since, expires_at) VALUES (?, ?, ?, ?, ?, ?) "+
			"ON CONFLICT (module) DO UPDATE SET token = excluded.token, daemon = excluded.daemon, holder = excluded.holder, "+
			"since = excluded.since, expires_at = excluded.expires_at WHERE migration_locks.expires_at < ?",
		module, token, l.daemon, l.holder, l.now(), l.in(l.lease), l.now())
	if result.Error != nil {
		return false, fmt.Errorf("take the migration lock of module %s: %w", module, result.Error)
	}
	return result.RowsAffected > 0, nil
}

func (l *locks) locked(ctx context.Context, module string) error {
	var row lock
	if err := l.db.WithContext(ctx).Take(&row, "module = ?", module).Error; err != nil {
		return fmt.Errorf("look who migrates module %s: %w", module, err)
	}
	return &LockedError{Module: module, Holder: row.Holder, Since: row.Since.UTC()}
}

// renew keeps the lock until ctx ends; the error says that it is not ours any more, or may not be.
func (l *locks) renew(ctx context.Context, module, token string) error {
	tick := time.NewTicker(l.renewal)
	defer tick.Stop()
	sure := time.Now().Add(l.lease)
	for {
		select {
		case <-ctx.Done():
			return nil
		case begun := <-tick.C:
			kept, err := l.prolong(ctx, module, token)
			switch {
			case err == nil && kept:
				sure = begun.Add(l.lease)
			case err == nil && ctx.Err() == nil, time.Now().After(sure):
				return errLost
			}
		}
	}
}

func (l *locks) prolong(ctx context.Context, module, token string) (kept bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.renewal)
	defer cancel()
	result := l.db.WithContext(ctx).Exec("UPDATE migration_locks SET expires_at = ? WHERE module = ? AND token = ?",
		l.in(l.lease), module, token)
	return result.RowsAffected > 0, result.Error
}

func (l *locks) release(ctx context.Context, module, token string) error {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	err := l.db.WithContext(ctx).Delete(&lock{}, "module = ? AND token = ?", module, token).Error
	if err != nil {
		return fmt.Errorf("give back the migration lock of module %s: %w", module, err)
	}
	return nil
}

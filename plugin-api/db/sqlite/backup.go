package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"gorm.io/gorm"
	"modernc.org/sqlite"
)

// backupPages is how much is copied before the end of the context is looked at.
const backupPages = 256

// Backup copies db, page by page, into a new file that only its owner may read, while others go on reading and writing db: the
// copy is what had been committed when it began. progress, which may be nil, hears of pages done and in all. On an error the
// file is left for the caller to remove.
func Backup(ctx context.Context, db *gorm.DB, file string, progress func(done, total int64)) error {
	if err := backup(ctx, db, file, progress); err != nil {
		return fmt.Errorf("copy the database: %w", translate(err))
	}
	return nil
}

func backup(ctx context.Context, db *gorm.DB, file string, progress func(done, total int64)) (err error) {
	if file, err = filepath.Abs(file); err != nil {
		return err
	}
	target, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // SQLite would let everybody read it
	if err != nil {
		return err
	}
	if err := target.Close(); err != nil {
		return err
	}
	sqlDB, err := db.DB()
	if err != nil {
		return err
	}
	conn, err := sqlDB.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	unpin, err := pin(ctx, conn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unpin()) }()
	return conn.Raw(func(driver any) error { return copyPages(ctx, driver, file, progress) })
}

// pin keeps the connection at the last commit. Without it SQLite would begin anew after each commit of another process, and a
// busy file would never be copied.
func pin(ctx context.Context, conn *sql.Conn) (unpin func() error, err error) {
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return nil, err
	}
	unpin = func() error {
		_, err := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return err
	}
	var version int
	if err := conn.QueryRowContext(ctx, "PRAGMA schema_version").Scan(&version); err != nil { // BEGIN alone reads nothing yet
		return nil, errors.Join(err, unpin())
	}
	return unpin, nil
}

func copyPages(ctx context.Context, driver any, file string, progress func(done, total int64)) (err error) {
	source, ok := driver.(interface {
		NewBackup(target string) (*sqlite.Backup, error)
	})
	if !ok {
		return fmt.Errorf("the driver %T copies no databases", driver)
	}
	// The copy is of no use until it is whole, so that no journal needs to protect it, nor the disk to be waited for.
	settings := url.Values{"_pragma": {"journal_mode(OFF)", "synchronous(OFF)"}}
	copying, err := source.NewBackup((&url.URL{Scheme: "file", Path: file, RawQuery: settings.Encode()}).String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, copying.Finish()) }()
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if more, err = copying.Step(backupPages); err != nil {
			return err
		}
		if progress != nil {
			total := copying.PageCount()
			progress(int64(total-copying.Remaining()), int64(total))
		}
	}
	return nil
}

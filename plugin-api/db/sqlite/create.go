package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// locate makes path absolute, so that a later change of the working directory does not move the database.
func locate(path string) (string, error) {
	if path == "" {
		return "", errors.New("the path is empty (fix: name a file)")
	}
	if strings.ContainsRune(path, 0) {
		return "", fmt.Errorf("the path %q holds a zero byte (fix: name another file)", path)
	}
	return filepath.Abs(path)
}

// find reports whether there is a file. Anything else of that name is an error: SQLite would wait on a pipe for ever.
func find(file string) (exists bool, err error) {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("%w (fix: choose a file that this user can reach)", err)
	case !info.Mode().IsRegular():
		return false, fmt.Errorf("%w: it is a %s", ErrNotDatabase, kindOf(info.Mode()))
	}
	return true, nil
}

// create makes an empty database at file, for its owner alone.
//
// It is built under another name and linked into place: it appears whole, already in WAL mode, or not at all, and of
// several processes that start at once one wins and nobody sees a file in between. Nor does this ever open a file that may
// be in use: closing any descriptor of a file drops every lock that the process holds on it.
func create(ctx context.Context, file string) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make its folder: %w (fix: let this user write there, or choose another folder)", err)
	}
	blank, err := blankDatabase(ctx, dir)
	if err != nil {
		return err
	}
	defer os.Remove(blank)
	if err := os.Link(blank, file); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create it: %w (fix: choose a disk with hard links)", err)
	}
	return nil
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "folder"
	case mode&fs.ModeNamedPipe != 0:
		return "pipe"
	}
	return "special file"
}

// blankDatabase returns the path of a new, empty database in dir.
func blankDatabase(ctx context.Context, dir string) (path string, err error) {
	f, err := os.CreateTemp(dir, ".new-*.db") // mode 0600
	if err != nil {
		return "", fmt.Errorf("create it: %w (fix: let this user write to its folder, or choose another)", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := f.Close(); err != nil {
		return "", err
	}
	db, err := sql.Open(driverName, dsn(f.Name(), Options{}))
	if err != nil {
		return "", err
	}
	return f.Name(), translate(errors.Join(db.PingContext(ctx), db.Close()))
}

package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/platformd/platformd/core/internal/storage"
)

// sqliteMagic is how every SQLite file begins.
const sqliteMagic = "SQLite format 3\x00"

// restoreFiles puts the files of a backup into place, and returns where it moved what was there.
func restoreFiles(ctx context.Context, r restoring) (aside string, err error) {
	old, err := existing(r.DataDir)
	if err != nil {
		return "", err
	}
	if len(old) > 0 && !r.replace {
		return "", fmt.Errorf("there is data in %s already, such as %s (fix: restore into another --data-dir, "+
			"or let --replace move it aside)", r.DataDir, old[0])
	}
	err = r.archive.unpack(ctx, r.stage, func(done, total int64) { r.tell("checking", done, total) })
	if err != nil {
		return "", err
	}
	names := r.archive.names()
	for _, name := range names {
		if err := r.checkFile(name); err != nil {
			return "", err
		}
	}
	r.reach("checked")
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if len(old) > 0 {
		aside = filepath.Join(r.DataDir, "replaced-"+time.Now().UTC().Format("20060102T150405.000Z"))
	}
	if err := r.place(old, names, aside); err != nil {
		return "", fmt.Errorf("put the backup into place: %w", err)
	}
	return aside, nil
}

// existing lists the database files of a data folder, relative to it, with those that SQLite keeps beside them.
func existing(dataDir string) (found []string, err error) {
	files := []string{coreFile}
	entries, err := os.ReadDir(filepath.Join(dataDir, "modules"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for data: %w (fix: run as the user that owns the data directory)", err)
	}
	for _, entry := range entries {
		if entry.IsDir() && storage.ValidModule(entry.Name()) {
			files = append(files, fileOf(entry.Name()))
		}
	}
	for _, file := range files {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			_, err := os.Lstat(filepath.Join(dataDir, file+suffix))
			if err == nil {
				found = append(found, file+suffix)
			} else if !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("look for data: %w", err)
			}
		}
	}
	return found, nil
}

func (r restoring) checkFile(name string) error {
	file, err := os.Open(filepath.Join(r.stage, name))
	if err != nil {
		return err
	}
	defer file.Close()
	head := make([]byte, len(sqliteMagic))
	if n, _ := file.Read(head); !bytes.Equal(head[:n], []byte(sqliteMagic)) {
		return r.archive.refuse(fmt.Errorf("%s is not an SQLite database", name))
	}
	return nil
}

// move is one rename, of paths relative to the data folder.
type move struct{ from, to string }

// place moves old aside and the new files to where they belong. A mark keeps daemons away meanwhile, should this be killed.
func (r restoring) place(old, names []string, aside string) error {
	var moves []move
	if err := r.makeFolders(old, names, aside); err != nil {
		return err
	}
	for _, file := range old {
		moves = append(moves, move{file, filepath.Join(filepath.Base(aside), file)})
	}
	for _, name := range names {
		moves = append(moves, move{filepath.Join(filepath.Base(r.stage), name), name})
	}
	if err := r.mark(aside); err != nil {
		return err
	}
	r.reach("marked")
	for i, m := range moves {
		if err := os.Rename(filepath.Join(r.DataDir, m.from), filepath.Join(r.DataDir, m.to)); err != nil {
			return errors.Join(err, r.undo(moves[:i]))
		}
		r.reach("moved " + m.to)
	}
	if err := r.sync(moves); err != nil {
		return err
	}
	return r.unmark()
}

func (r restoring) makeFolders(old, names []string, aside string) error {
	for _, file := range old {
		if err := os.MkdirAll(filepath.Join(aside, filepath.Dir(file)), 0o700); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(r.DataDir, filepath.Dir(name)), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// mark says in the data folder that files are being moved.
func (r restoring) mark(aside string) error {
	text := "nothing was there before"
	if aside != "" {
		text = "what was there before is in " + aside
	}
	mark, err := os.OpenFile(storage.RestoreMark(r.DataDir), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = mark.WriteString(text)
	return errors.Join(err, mark.Sync(), mark.Close(), syncFolder(r.DataDir))
}

func (r restoring) unmark() error {
	return errors.Join(os.Remove(storage.RestoreMark(r.DataDir)), syncFolder(r.DataDir))
}

// undo takes moves back, last first. The mark stays if one of them cannot be.
func (r restoring) undo(moves []move) error {
	var problems []error
	for _, m := range slices.Backward(moves) {
		problems = append(problems, os.Rename(filepath.Join(r.DataDir, m.to), filepath.Join(r.DataDir, m.from)))
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("and it cannot be taken back: %w", err)
	}
	return r.unmark()
}

// sync makes moves last.
func (r restoring) sync(moves []move) error {
	synced := make(map[string]bool)
	for _, m := range moves {
		for _, path := range []string{m.from, m.to} {
			for dir := filepath.Dir(path); !synced[dir]; dir = filepath.Dir(dir) {
				synced[dir] = true
				if err := syncFolder(filepath.Join(r.DataDir, dir)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

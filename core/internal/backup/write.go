package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// writing is an archive that is being made. Beside its file there are, as long as that lasts, FILE.partial, which takes its place
// in the end, and the folder FILE.parts. What is left of a writer that was killed, the next one removes.
type writing struct {
	file    string
	partial *os.File // locked
	parts   string
}

func beginArchive(file string) (*writing, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("find the backup's place: %w", err)
	}
	if info, err := os.Lstat(file); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is there and is no regular file (fix: name another file)", file)
	}
	partial, err := lockPartial(file + ".partial")
	if err != nil {
		return nil, fmt.Errorf("begin the backup: %w", err)
	}
	w := &writing{file: file, partial: partial, parts: file + ".parts"}
	err = os.RemoveAll(w.parts)
	if err == nil {
		err = os.Mkdir(w.parts, 0o700)
	}
	if err != nil {
		w.discard()
		return nil, fmt.Errorf("begin the backup: %w (fix: choose a folder that this user can write)", err)
	}
	return w, nil
}

// lockPartial opens an empty file for its owner alone, which no other backup writes.
func lockPartial(name string) (file *os.File, err error) {
	file, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w (fix: choose a folder that is there, and that this user can write)", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("another backup is being written to %s (fix: wait for its end, or name another file)", name)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	mine, err := file.Stat()
	if err != nil {
		return nil, err
	}
	there, err := os.Lstat(name)
	if err != nil || !os.SameFile(mine, there) || !mine.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s has just been another's (fix: run the command again)", name))
	}
	return file, errors.Join(file.Chmod(0o600), file.Truncate(0))
}

// write puts the parts, and what they are, into the archive.
func (w *writing) write(ctx context.Context, c *contents) error {
	c.Members = nil
	for _, name := range c.names() {
		m, err := describe(ctx, w.parts, name)
		if err != nil {
			return fmt.Errorf("read a part of the backup: %w", err)
		}
		c.Members = append(c.Members, m)
	}
	if err := w.pack(ctx, c); err != nil {
		return fmt.Errorf("write the backup: %w (fix: see that the disk has room)", err)
	}
	return nil
}

func (w *writing) pack(ctx context.Context, c *contents) error {
	out := tar.NewWriter(w.partial)
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	put := func(name string, size int64, from io.Reader) error {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: size, ModTime: c.CreatedAt.Truncate(time.Second)}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.Copy(out, reader{ctx, from})
		return err
	}
	if err := put(contentsName, int64(len(text)), bytes.NewReader(text)); err != nil {
		return err
	}
	for _, m := range c.Members {
		part, err := os.Open(filepath.Join(w.parts, m.Name))
		if err != nil {
			return err
		}
		// Each part goes when it is in the archive, so that the backup never takes its room twice.
		if err := errors.Join(put(m.Name, m.Size, part), part.Close(), os.Remove(part.Name())); err != nil {
			return err
		}
	}
	return out.Close()
}

// finish puts the archive into its place, and returns its size.
func (w *writing) finish() (int64, error) {
	info, err := w.partial.Stat()
	if err == nil {
		err = w.partial.Sync()
	}
	if err == nil {
		err = os.Rename(w.partial.Name(), w.file)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(w.file))
	}
	if err != nil {
		return 0, fmt.Errorf("finish the backup: %w", err)
	}
	return info.Size(), nil
}

// discard removes what is left.
func (w *writing) discard() {
	_ = os.RemoveAll(w.parts)
	mine, err := w.partial.Stat()
	if there, err2 := os.Lstat(w.partial.Name()); err == nil && err2 == nil && os.SameFile(mine, there) {
		_ = os.Remove(w.partial.Name())
	}
	_ = w.partial.Close()
}

// describe reads a part to say what it is.
func describe(ctx context.Context, dir, name string) (member, error) {
	part, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return member{}, err
	}
	defer part.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, reader{ctx, part})
	return member{Name: name, Size: size, SHA256: hex.EncodeToString(hash.Sum(nil))}, err
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	io.Reader
}

// Read implements io.Reader.
func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// syncFolder makes renames within a folder last.
func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = folder.Sync()
	if errors.Is(err, fs.ErrInvalid) || errors.Is(err, unix.EINVAL) {
		err = nil // a file system without folders that could be synced
	}
	return errors.Join(err, folder.Close())
}

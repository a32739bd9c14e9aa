package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// archive is a backup that is being read.
type archive struct {
	*contents
	file  string
	size  int64
	input *os.File
	tar   *tar.Reader // after backup.json
}

func openArchive(file string) (*archive, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("find the backup: %w", err)
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("open the backup: %w (fix: name a file that `platformd db backup` wrote)", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file (fix: name a file that `platformd db backup` wrote)", file)
	}
	input, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("open the backup: %w (fix: name a file that this user may read)", err)
	}
	a := &archive{file: file, size: info.Size(), input: input, tar: tar.NewReader(input)}
	if err := a.readContents(); err != nil {
		return nil, errors.Join(a.refuse(err), input.Close())
	}
	return a, nil
}

func (a *archive) close() { _ = a.input.Close() } // it was only read

// refuse says of an error that it is the archive's.
func (a *archive) refuse(err error) error {
	var newer *tooNewError
	var disk *fs.PathError
	switch {
	case errors.As(err, &newer), errors.Is(err, context.Canceled):
		return fmt.Errorf("%s cannot be restored: %w", a.file, err)
	case errors.As(err, &disk):
		return fmt.Errorf("%s cannot be restored: %w (fix: see that the disk is well and has room)", a.file, err)
	}
	return fmt.Errorf("%s cannot be restored: %w (fix: use a copy of the backup that is whole)", a.file, err)
}

func (a *archive) readContents() error {
	header, err := a.tar.Next()
	if err != nil {
		return fmt.Errorf("it is no backup: %w", noEOF(err))
	}
	if header.Name != contentsName || header.Typeflag != tar.TypeReg || header.Size > maxContents {
		return fmt.Errorf("it is no backup: it does not begin with %s", contentsName)
	}
	text, err := io.ReadAll(a.tar)
	if err != nil {
		return err
	}
	a.contents, err = parseContents(text)
	return err
}

// unpack writes every member below dir, in its folder, and makes sure that each is what was put into the archive.
func (a *archive) unpack(ctx context.Context, dir string, progress func(done, total int64)) error {
	for _, m := range a.Members {
		if err := a.unpackOne(ctx, dir, m); err != nil {
			return a.refuse(fmt.Errorf("%s: %w", m.Name, err))
		}
		if at, err := a.input.Seek(0, io.SeekCurrent); err == nil {
			progress(at, a.size)
		}
	}
	switch _, err := a.tar.Next(); {
	case err == nil:
		return a.refuse(errors.New("it holds more than it says"))
	case !errors.Is(err, io.EOF):
		return a.refuse(err)
	}
	return nil
}

func (a *archive) unpackOne(ctx context.Context, dir string, m member) error {
	header, err := a.tar.Next()
	if err != nil {
		return noEOF(err)
	}
	if header.Name != m.Name || header.Typeflag != tar.TypeReg || header.Size != m.Size {
		return fmt.Errorf("in its place is %q, or it has another size", header.Name)
	}
	target := filepath.Join(dir, m.Name)
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, hash), reader{ctx, a.tar})
	if err == nil {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	if hex.EncodeToString(hash.Sum(nil)) != m.SHA256 {
		return errors.New("its checksum is wrong")
	}
	return nil
}

// noEOF tells an end that comes too early.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

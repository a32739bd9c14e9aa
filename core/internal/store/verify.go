package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/platformd/platformd/core/internal/archive"
)

// listing is a checksums.txt, as sha256sum reads it.
func listing(sums map[string]string) []byte {
	var out bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&out, "%s  %s\n", sums[name], name)
	}
	return out.Bytes()
}

// Verify compares a version's folder with what was installed, byte for byte: every file that checksums.txt lists is there and
// is what it was, nothing else is there, nobody else can write to it, and checksums.txt is the one whose checksum e.Contents
// is. The error is the context's, or an *Error with the code "store_spoilt".
func (s *Store) Verify(ctx context.Context, name string, e Entry) error {
	err := verify(ctx, s.Dir(name, e.Version), e.Contents)
	if err == nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	dir := s.Dir(name, e.Version)
	return &Error{Code: "store_spoilt", Err: err,
		Message: fmt.Sprintf("%s %s in the store is not what was installed: %v", name, e.Version, err),
		Fix:     fmt.Sprintf("install the package of %s %s again, and find out who changed %s", name, e.Version, dir)}
}

func verify(ctx context.Context, dir, contents string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	there := map[string]string{}
	err = fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		return examine(root, name, there)
	})
	if err != nil {
		return err
	}
	delete(there, archive.ChecksumsFile)
	delete(there, "./")
	listed, err := root.ReadFile(archive.ChecksumsFile)
	if err != nil {
		return err
	}
	if sumOf(listed) != contents {
		return fmt.Errorf("%s has changed", archive.ChecksumsFile)
	}
	return compare(string(listed), there)
}

// examine adds the checksum of a file to what is there, or a folder, whose name ends with a slash.
func examine(root *os.Root, name string, there map[string]string) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	switch {
	case !info.IsDir() && !info.Mode().IsRegular():
		return fmt.Errorf("%s is neither a file nor a folder", name)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others than its owner can write to %s", name)
	case info.IsDir():
		there[name+"/"] = ""
		return nil
	}
	file, err := root.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	there[name] = hex.EncodeToString(hash.Sum(nil))
	return nil
}

// compare names the first file that differs.
func compare(listed string, there map[string]string) error {
	for line := range strings.Lines(listed) {
		sum, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		is, found := there[name]
		switch {
		case !found:
			return fmt.Errorf("%s is missing", name)
		case is != sum:
			return fmt.Errorf("%s has changed", name)
		}
		delete(there, name)
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			delete(there, dir+"/")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		return fmt.Errorf("%s does not belong to it", name)
	}
	return nil
}

package signing

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Trust is the keys whose packages a platform takes: one file each in a folder of its data, named by the key's id. Its methods
// may be called concurrently, by several processes too.
type Trust struct{ dir string }

// TrustIn returns the keys that the platform with that data folder trusts. Nothing need be there.
func TrustIn(dataDir string) Trust { return Trust{filepath.Join(dataDir, "trust")} }

const keyExtension = ".pub"

var idForm = regexp.MustCompile(`^[0-9A-F]{16}$`)

// Add trusts a key, and reports whether it was not trusted before.
func (t Trust) Add(k Key) (added bool, err error) {
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return false, fmt.Errorf("make the folder of trusted keys: %w (fix: run as the user that owns the data directory)", err)
	}
	if err := t.private(); err != nil {
		return false, err
	}
	err = t.write(k)
	if errors.Is(err, fs.ErrExist) {
		return false, t.same(k)
	}
	if err != nil {
		return false, fmt.Errorf("write the trusted key: %w (fix: run as the user that owns the data directory)", err)
	}
	return true, nil
}

func (t Trust) file(id string) string { return filepath.Join(t.dir, id+keyExtension) }

// write makes the file whole or not at all, and never in place of another.
func (t Trust) write(k Key) (err error) {
	temp, err := os.CreateTemp(t.dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(temp.Name())) }()
	_, err = temp.Write(k.Text())
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Link(temp.Name(), t.file(k.ID))
}

// same refuses a second key with the id of one that is trusted: it was made to be mistaken for that.
func (t Trust) same(k Key) error {
	there, err := t.load(k.ID)
	if err == nil && !there.public.Equal(k.public) {
		err = &Error{Code: "key_id_taken", Message: "another key with the id " + k.ID + " is trusted already",
			Fix: "find out which of the two is right; to replace the old one: platformd trust rm " + k.ID}
	}
	return err
}

// Keys returns the trusted keys, sorted by id. A key that cannot be read is an error: nobody should wonder why it does not count.
func (t Trust) Keys() ([]Key, error) {
	entries, err := os.ReadDir(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the trusted keys: %w (fix: run as the user that owns the data directory)", err)
	}
	if err := t.private(); err != nil {
		return nil, err
	}
	var keys []Key
	for _, entry := range entries {
		id, isKey := strings.CutSuffix(entry.Name(), keyExtension)
		if !isKey || strings.HasPrefix(id, ".") {
			continue
		}
		k, err := t.load(id)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b Key) int { return cmp.Compare(a.ID, b.ID) })
	return keys, nil
}

// private refuses a folder in which others could trust whom they like.
func (t Trust) private() error {
	info, err := os.Lstat(t.dir)
	if err != nil {
		return fmt.Errorf("look at the trusted keys: %w", err)
	}
	if !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return &Error{Code: "trust_not_private", Message: t.dir + " is no folder, or others than its owner can write to it",
			Fix: "see whose keys are in it, then: chmod 700 " + t.dir}
	}
	return nil
}

func (t Trust) load(id string) (Key, error) {
	path := t.file(id)
	info, err := os.Lstat(path)
	if err != nil {
		return Key{}, fmt.Errorf("read a trusted key: %w", err)
	}
	if info.Mode().Type() != 0 || info.Mode().Perm()&0o022 != 0 {
		return Key{}, spoilt(path, "it is no regular file, or others than its owner can write it")
	}
	text, err := readText(path)
	if err != nil {
		return Key{}, fmt.Errorf("read a trusted key: %w", err)
	}
	k, err := ParseKey(bytes.TrimSpace(text))
	switch {
	case err != nil:
		return Key{}, spoilt(path, "it is no public key")
	case k.ID != id:
		return Key{}, spoilt(path, "its name is not that of the key in it, "+k.ID)
	}
	k.Added = info.ModTime()
	return k, nil
}

func spoilt(path, why string) *Error {
	return &Error{Code: "trust_spoilt", Message: "the trusted key " + path + ": " + why,
		Fix: "remove the file, and add the key with `platformd trust add FILE`"}
}

// Remove ends the trust in a key. The case of the id does not matter. Without such a key, the error's code is "unknown_key".
func (t Trust) Remove(id string) error {
	id = strings.ToUpper(id)
	err := fs.ErrNotExist
	if idForm.MatchString(id) {
		err = os.Remove(t.file(id))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Code: "unknown_key", Err: err, Message: fmt.Sprintf("no key %q is trusted", harmless(id)),
			Fix: "see what is: platformd trust ls"}
	}
	if err != nil {
		return fmt.Errorf("remove the trusted key: %w (fix: run as the user that owns the data directory)", err)
	}
	return nil
}

package store

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/Masterminds/semver/v3"
)

// Entry is what platformd.lock says of one module.
type Entry struct {
	Version string `json:"version"`
	// SHA256 is the checksum of the package file, and Contents that of the version's checksums.txt, in hexadecimal digits. The
	// second lists what lies in the version's folder: see Store.Verify.
	SHA256   string `json:"sha256"`
	Contents string `json:"contents"`
	// Signer is the id of the key that has signed the package; "" = none, which the operator has allowed.
	Signer    string    `json:"signer,omitempty"`
	Installed time.Time `json:"installed"`
	// Grants are what the manifest asks for and the operator has approved, and Pending what is not approved, sorted.
	Grants  []string `json:"grants"`
	Pending []string `json:"pending,omitempty"`
	// Replaces lets it run though there is a folder of the module in the folder of modules, too.
	Replaces bool `json:"replaces_folder,omitempty"`
	// Previous is what a rollback returns to. Its own Previous is nil.
	Previous *Entry `json:"previous,omitempty"`
}

// clone returns a copy that shares nothing, in the form in which it is written.
func (e Entry) clone() Entry {
	e.Installed = e.Installed.UTC().Truncate(time.Second)
	e.Grants, e.Pending = sorted(e.Grants), sorted(e.Pending)
	if e.Previous != nil {
		previous := e.Previous.clone()
		e.Previous = &previous
	}
	return e
}

// sorted never returns nil: a file says [], not null.
func sorted(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(append([]string{}, names...))))
}

// same compares two entries as they are written.
func same(a, b *Entry) bool {
	textA, errA := json.Marshal(a)
	textB, errB := json.Marshal(b)
	return errors.Join(errA, errB) == nil && bytes.Equal(textA, textB)
}

// lockContent is platformd.lock.
type lockContent struct {
	Modules map[string]Entry `json:"modules"`
}

// The name of a module, as its manifest may have it.
var nameRule = regexp.MustCompile(`^[a-z][a-z0-9_]{1,40}$`)

// readLock returns nil if there is no such file.
func readLock(path string) (map[string]Entry, error) {
	var content lockContent
	there, err := readJSON(path, &content)
	if !there && err == nil {
		return nil, nil
	}
	if err == nil && content.Modules == nil {
		err = errors.New(`it has no "modules"`)
	}
	for _, name := range slices.Sorted(maps.Keys(content.Modules)) {
		e := content.Modules[name]
		if err == nil {
			err = check(name, &e)
		}
		content.Modules[name] = e.clone()
	}
	if err != nil {
		return nil, &Error{Code: "lock_spoilt", Err: err,
			Message: fmt.Sprintf("read which modules are installed, in %s: %v", path, err),
			Fix:     "restore the file from a backup; or undo what was changed in it by hand"}
	}
	return content.Modules, nil
}

// check makes sure that an entry can be used: its words become names of files.
func check(name string, e *Entry) error {
	if !nameRule.MatchString(name) {
		return fmt.Errorf("%q is not a module's name", name)
	}
	if e == nil {
		return nil
	}
	if err := checkVersion(e.Version); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for key, sum := range map[string]string{"sha256": e.SHA256, "contents": e.Contents} {
		if raw, err := hex.DecodeString(sum); err != nil || len(raw) != 32 || hex.EncodeToString(raw) != sum {
			return fmt.Errorf("%s: %s %q is not a SHA-256 in lower case", name, key, sum)
		}
	}
	if e.Installed.IsZero() {
		return fmt.Errorf("%s: there is no time in installed", name)
	}
	if e.Previous == nil {
		return nil
	}
	if e.Previous.Previous != nil || e.Previous.Version == e.Version {
		return fmt.Errorf("%s: previous is not one other version", name)
	}
	return check(name, e.Previous)
}

// maxVersion is what every file system takes as a folder's name, in bytes.
const maxVersion = 200

func checkVersion(version string) error {
	if _, err := semver.StrictNewVersion(version); err != nil || len(version) > maxVersion {
		return fmt.Errorf("%.220q is not a semantic version of at most %d bytes", version, maxVersion)
	}
	return nil
}

// readJSON reads a file strictly, and reports whether there is one.
func readJSON(path string, into any) (there bool, err error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return true, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return true, errors.New("something follows its end")
	}
	return true, nil
}

func writeJSON(path string, content any, point string) error {
	text, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(path, append(text, '\n'), point)
}

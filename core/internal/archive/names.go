package archive

import (
	"fmt"
	"path"
	"strings"
)

// badName says why a file of a package cannot be called so; "" if it can. What is left means one and the same file on every
// system and to every reader, and is harmless on a terminal.
func badName(name string, limit int) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > limit:
		return fmt.Sprintf("it is longer than %d bytes", limit)
	case strings.HasPrefix(name, "/"):
		return "it is absolute"
	case strings.HasSuffix(name, "/"):
		return "it is a folder's"
	}
	for part := range strings.SplitSeq(name, "/") {
		if why := badPart(part); why != "" {
			return why
		}
	}
	return ""
}

func badPart(part string) string {
	switch {
	case part == "":
		return "it has two slashes in a row"
	case part == ".", part == "..":
		return "it has the part " + part
	case strings.HasPrefix(part, " "), strings.HasSuffix(part, " "), strings.HasSuffix(part, "."):
		return "a part of it begins or ends with a space, or ends with a dot"
	}
	for _, r := range part {
		if r < ' ' || r > '~' || strings.ContainsRune(`\:*?"<>|`, r) {
			return fmt.Sprintf("it has the character %U", r)
		}
	}
	return ""
}

// index knows the names in a package, and sees to it that no two of them are one file, or a file and a folder, on any system.
type index struct {
	spelt map[string]string // by what it is where capitals do not count
	isDir map[string]bool
}

func newIndex() *index { return &index{spelt: map[string]string{}, isDir: map[string]bool{}} }

// add takes a good name.
func (x *index) add(name string) *Error {
	if err := x.enter(name, false); err != nil {
		return err
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if err := x.enter(dir, true); err != nil {
			return err
		}
	}
	return nil
}

func (x *index) enter(name string, isDir bool) *Error {
	folded := strings.ToLower(name)
	before, known := x.spelt[folded]
	switch {
	case !known:
		x.spelt[folded], x.isDir[folded] = name, isDir
	case before != name:
		return &Error{Code: "case_collision", Message: fmt.Sprintf("%q and %q differ in capitals only", before, name),
			Fix: "rename one of the two, and pack again: some file systems hold only one of them"}
	case x.isDir[folded] != isDir:
		return &Error{Code: "duplicate_name", Message: fmt.Sprintf("%q is a file and a folder", name), Fix: again}
	case !isDir:
		return &Error{Code: "duplicate_name", Message: fmt.Sprintf("%q is there twice", name), Fix: again}
	}
	return nil
}

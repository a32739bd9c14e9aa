package ledger

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// maxID is the longest id of a migration, in bytes.
const maxID = 100

// Plan compares what has been applied with what the binary declares, both in order, and returns what is left to apply. The
// rule: what has been applied is the beginning of what is declared, and has not been edited since. A breach is a
// *MissingError, an *OrderError or a *DriftError; a mistake in the declaration alone is an *InvalidError. Nothing may run
// then. The last row may be of a step that did not come to its end; that is left, too, and may have been corrected since:
// what of it has run is for who resumes it to compare.
func Plan(applied []Row, declared []Declared) (pending []Declared, err error) {
	ids := IDsOf(declared)
	if err := checkIDs(ids); err != nil {
		return nil, err
	}
	have := IDs(applied)
	same := commonPrefix(have, ids)
	if same < len(have) {
		return nil, breach(have, ids, same)
	}
	for i, row := range applied {
		if !row.Unfinished && row.Checksum != "" && declared[i].Checksum != "" && row.Checksum != declared[i].Checksum {
			return nil, &DriftError{ID: row.ID, Applied: row.Checksum, Declared: declared[i].Checksum}
		}
	}
	if same > 0 && applied[same-1].Unfinished {
		same--
	}
	return declared[same:], nil
}

// breach says how the two differ, which have the first same ids in common.
func breach(applied, declared []string, same int) error {
	diff := Diff{Applied: applied[same:], Declared: declared[same:]}
	if missing := subtract(applied, declared); len(missing) > 0 {
		return &MissingError{IDs: missing, Diff: diff}
	}
	return &OrderError{ID: declared[same], Diff: diff}
}

// DriftError says that a migration was edited after it had been applied.
type DriftError struct {
	ID                string
	Applied, Declared string // checksums
	// Difference says where, if that is known.
	Difference string
}

// Error implements error.
func (e *DriftError) Error() string {
	text := fmt.Sprintf("migration %s was edited after it had been applied (checksum then %.12s, now %.12s",
		e.ID, e.Applied, e.Declared)
	if e.Difference != "" {
		text += "; " + e.Difference
	}
	return text + ") (fix: undo the edit, and put the change into a new migration)"
}

// Diff is where an order of application and a declaration part: both without the beginning that they share.
type Diff struct {
	Applied, Declared []string
}

// String implements fmt.Stringer.
func (d Diff) String() string {
	return fmt.Sprintf("applied: %s; declared: %s", list(d.Applied), list(d.Declared))
}

// MissingError says that the database is newer than the binary: migrations were applied that the binary lacks.
type MissingError struct {
	IDs  []string // applied, not declared
	Diff Diff
}

// Error implements error.
func (e *MissingError) Error() string {
	return fmt.Sprintf("the database is newer than the binary, which lacks %s (%s) "+
		"(fix: install a version that declares them, or restore a backup made before them)", list(e.IDs), e.Diff)
}

// OrderError says that a migration is declared before others that have been applied without it.
type OrderError struct {
	ID   string // the first declared migration that is not in its place
	Diff Diff
}

// Error implements error.
func (e *OrderError) Error() string {
	return fmt.Sprintf("migrations are out of order: %s is declared where the database has %s (%s) "+
		"(fix: declare new migrations after the old ones, and never move an old one)", e.ID, e.Diff.Applied[0], e.Diff)
}

// InvalidError says that a declared id cannot be used.
type InvalidError struct {
	ID     string
	Reason string
}

// Error implements error.
func (e *InvalidError) Error() string {
	return fmt.Sprintf("migration id %q %s (fix: give every migration its own id, such as 0001_posts)", e.ID, e.Reason)
}

// validID keeps ids printable: they come from a module, and go to logs and terminals.
var validID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

func checkIDs(declared []string) error {
	seen := make(map[string]bool, len(declared))
	for _, id := range declared {
		if err := checkID(id); err != nil {
			return err
		}
		if seen[id] {
			return &InvalidError{ID: id, Reason: "is declared twice"}
		}
		seen[id] = true
	}
	return nil
}

func checkID(id string) error {
	switch {
	case len(id) > maxID:
		return &InvalidError{ID: id[:maxID], Reason: fmt.Sprintf("is longer than %d bytes", maxID)}
	case !validID.MatchString(id):
		return &InvalidError{ID: id, Reason: "is not made of letters, digits, '_', '-' and '.'"}
	}
	return nil
}

func commonPrefix(a, b []string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// subtract returns the elements of a that are not in b.
func subtract(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(id string) bool { return slices.Contains(b, id) })
}

func list(ids []string) string {
	if len(ids) == 0 {
		return "none"
	}
	return strings.Join(ids, ", ")
}

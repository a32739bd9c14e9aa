package authz

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/platformd/platformd/core/internal/canonical"
	"github.com/platformd/platformd/plugin-api/nearest"
	"github.com/platformd/platformd/plugin-api/problem"
)

var (
	// ErrStale means that it is not known who may do what now: the database has not been readable for longer than Staleness.
	// Nothing is allowed then.
	ErrStale = errors.New("nobody knows who may do what: the core's database has not answered for a while " +
		"(fix: `platformd status` says what it lacks)")
	// ErrLastAdmin means that nobody who can sign in would be left with the role admin.
	ErrLastAdmin = errors.New("nobody would be left with the role admin " +
		"(fix: `platformd role assign admin USER` to another user first)")
	// ErrBuiltIn means that the role is not to be changed.
	ErrBuiltIn = errors.New("the role admin is built in: it allows everything, and cannot be changed or deleted " +
		"(fix: make a role of your own with `platformd role create ROLE`)")
)

// NotFoundError says that there is no such role or group.
type NotFoundError struct {
	What string // "role" or "group"
	Name string
	Near []string // names that were perhaps meant
}

// Error implements error.
func (e *NotFoundError) Error() string {
	hint := fmt.Sprintf("`platformd %s ls` lists them, `platformd %[1]s create NAME` makes one", e.What)
	if len(e.Near) > 0 {
		hint = "perhaps " + strings.Join(e.Near, " or ") + "; " + hint
	}
	return fmt.Sprintf("there is no %s %.80q (fix: %s)", e.What, e.Name, hint)
}

func notFound(what, name string, all []string) error {
	return &NotFoundError{What: what, Name: name, Near: nearest.Names(name, all)}
}

// ExistsError says that there is such a role or group already.
type ExistsError struct {
	What string
	Name string
}

// Error implements error.
func (e *ExistsError) Error() string {
	return fmt.Sprintf("there is a %s %s already (fix: choose another name, or use that one)", e.What, e.Name)
}

// NotHeldError says that a role cannot lose a permission: it does not have it, or has it through something wider too.
type NotHeldError struct {
	Role    string
	Pattern string
	Through string // the wider pattern; "" = the role does not have it at all
}

// Error implements error.
func (e *NotHeldError) Error() string {
	if e.Through == "" {
		return fmt.Sprintf("the role %s has no permission %s (fix: `platformd role show %[1]s` lists what it has)", e.Role, e.Pattern)
	}
	return fmt.Sprintf("the role %s would keep %s through %s (fix: revoke %[3]s, then grant what of it should stay)",
		e.Role, e.Pattern, e.Through)
}

// Limits of what people write.
const (
	maxText  = 200 // characters of a description
	maxID    = 200 // bytes of a user's id, or of a source's name
	maxBatch = 10_000
)

var validRole = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`) // as in manifests; groups are named alike

func checkName(what, name string) error {
	if !validRole.MatchString(name) {
		return problem.Invalid("%.80q cannot be the name of a %s (fix: use a-z, 0-9, _ and -, beginning with a letter, at most 63)",
			name, what)
	}
	return nil
}

func checkText(text string) error {
	if utf8.RuneCountInString(text) > maxText || !canonical.Printable(text) {
		return problem.Invalid("a description has at most %d printable characters (fix: choose a shorter or plainer one)", maxText)
	}
	return nil
}

func checkID(what, id string) error {
	if id == "" || len(id) > maxID || !canonical.Printable(id) {
		return problem.Invalid("%.80q is not %s (fix: give at most %d printable characters)", id, what, maxID)
	}
	return nil
}

func checkUsers(users []string) error {
	if len(users) > maxBatch {
		return problem.Invalid("%d users are too many at once (fix: at most %d)", len(users), maxBatch)
	}
	for _, user := range users {
		if err := checkID("the id of a user", user); err != nil {
			return err
		}
	}
	return nil
}

package identity

import (
	"net/mail"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/platformd/platformd/core/internal/canonical"
	"github.com/platformd/platformd/plugin-api/problem"
)

// Limits of what a user consists of.
const (
	maxEmail    = 254  // bytes: what fits into an SMTP path (RFC 5321)
	maxName     = 200  // characters
	minPassword = 10   // characters
	maxPassword = 1024 // bytes: checked before a password is hashed
)

// NormalizeEmail returns the one spelling under which an address is stored and looked up: without space around it, composed (NFC)
// and in lower case. It is a bare address: no display name, no comment, nothing quoted.
func NormalizeEmail(email string) (string, error) {
	if len(email) > 2*maxEmail || !utf8.ValidString(email) {
		return "", badEmail()
	}
	plain := lower(strings.TrimSpace(email))
	if len(plain) > maxEmail || !canonical.Printable(plain) || strings.ContainsRune(plain, ' ') {
		return "", badEmail()
	}
	parsed, err := mail.ParseAddress(plain)
	if err != nil || parsed.Name != "" || parsed.Address != plain {
		return "", badEmail()
	}
	return plain, nil
}

// lower composes again: a letter in lower case may compose with what follows where the one in upper case did not.
func lower(s string) string { return norm.NFC.String(strings.ToLower(norm.NFC.String(s))) }

func badEmail() error {
	return problem.Invalid("this is not an e-mail address (fix: write it as name@example.com, with at most %d bytes)", maxEmail)
}

// normalizeName returns the name as it is stored.
func normalizeName(name string) (string, error) {
	plain := norm.NFC.String(strings.TrimSpace(name))
	if utf8.RuneCountInString(plain) > maxName || !canonical.Printable(plain) {
		return "", problem.Invalid("the name of a user has at most %d printable characters (fix: choose a shorter or plainer one)",
			maxName)
	}
	return plain, nil
}

// checkPassword asks for length and nothing else: rules of what must be in a password make people choose worse ones (NIST
// SP 800-63B).
func checkPassword(email, password string) error {
	switch {
	case len(password) > maxPassword:
		return problem.Invalid("a password has at most %d bytes (fix: choose a shorter one)", maxPassword)
	case !utf8.ValidString(password):
		return problem.Invalid("a password is text in UTF-8 (fix: see how the file or the form encodes it)")
	case utf8.RuneCountInString(password) < minPassword:
		return problem.Invalid("a password has at least %d characters (fix: choose a longer one, such as a sentence)", minPassword)
	case lower(strings.TrimSpace(password)) == email:
		return problem.Invalid("the password is the e-mail address (fix: choose another one)")
	}
	return nil
}

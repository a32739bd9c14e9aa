package canonical

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable tells whether a text, such as a name, shows everything that is in it: it has nothing that could deceive the reader of
// a list, such as the escapes of a terminal or invisible characters, and is UTF-8.
func Printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

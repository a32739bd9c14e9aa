package cli

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/platformd/platformd/core/internal/logs"
)

// clean makes text from a module harmless on a terminal, and keeps it on one line.
func clean(text string) string { return logs.Neutral(text) }

// cleanLines is clean for a text of several lines.
func cleanLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = clean(line)
	}
	return strings.Join(lines, "\n")
}

// cleanJSON does for JSON what clean does, in JSON's own notation: encoding/json leaves more than one might think, such as
// the one-byte form of "escape [".
func cleanJSON(text string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsGraphic(r), r == '\n': // a line end between values; one within is escaped already
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}

// Package canonicaltest holds raw paths with a verdict each, for the tests of everybody who judges or routes paths.
package canonicaltest

import (
	_ "embed" // for the corpus
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

//go:embed paths.txt
var paths string

// Entry is one line of paths.txt: a raw path, written there as a Go string, and whether it is canonical.
type Entry struct {
	Raw       string
	Canonical bool
}

// Corpus returns every entry.
func Corpus(t testing.TB) []Entry {
	t.Helper()
	var entries []Entry
	for line := range strings.Lines(paths) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		verdict, quoted, _ := strings.Cut(line, " ")
		raw, err := strconv.Unquote(quoted)
		require.NoError(t, err, line)
		require.Contains(t, []string{"accept", "refuse"}, verdict, line)
		entries = append(entries, Entry{raw, verdict == "accept"})
	}
	return entries
}

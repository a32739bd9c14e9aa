// Package spoofs is the corpus of headers by which a client may try to be somebody else, for the tests of all who carry requests
// to a module: the transports of link, and the core's gateway.
//
// It must not be imported by anything but tests.
package spoofs

import (
	_ "embed"
	"strconv"
	"strings"
)

// Mark is in every value of a spoof, and in nothing else.
const Mark = "SPOOF"

// corpus holds one case a line, quoted as in Go.
//
//go:embed spoofs.txt
var corpus string

// All returns header lines by which a client may try to speak as the core or as somebody else, smuggle its token, or touch the
// connection between core and module. None of them may reach the module.
func All() []string {
	var lines []string
	for quoted := range strings.Lines(corpus) {
		line, err := strconv.Unquote(strings.TrimSuffix(quoted, "\n"))
		if err != nil {
			panic("spoofs.txt: " + quoted)
		}
		lines = append(lines, line)
	}
	return lines
}

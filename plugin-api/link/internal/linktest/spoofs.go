package linktest

import (
	_ "embed"
	"strconv"
	"strings"
)

// spoofs holds one case a line, quoted as in Go.
//
//go:embed spoofs.txt
var spoofs string

// Spoofs returns header lines by which a client may try to speak as the core or as somebody else, smuggle its token, or touch the
// connection between core and module. None of them may reach the module. "SPOOF" marks the value.
func Spoofs() []string {
	var lines []string
	for quoted := range strings.Lines(spoofs) {
		line, err := strconv.Unquote(strings.TrimSuffix(quoted, "\n"))
		if err != nil {
			panic("spoofs.txt: " + quoted)
		}
		lines = append(lines, line)
	}
	return lines
}

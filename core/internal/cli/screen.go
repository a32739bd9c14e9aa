package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/fatih/color"
	"github.com/mattn/go-isatty"

	"github.com/platformd/platformd/core/internal/supervisor"
)

// The values of --output.
const (
	formatTable = "table"
	formatJSON  = "json"
)

// screen is where a command writes, which may be a terminal.
type screen struct {
	io.Writer
	colours bool
}

func newScreen(w io.Writer, env []string) *screen {
	return &screen{Writer: w, colours: wantsColours(w, env)}
}

func wantsColours(w io.Writer, env []string) bool {
	file, isFile := w.(*os.File)
	return isFile && isatty.IsTerminal(file.Fd()) && !refusesColours(env)
}

// refusesColours follows no-color.org.
func refusesColours(env []string) bool {
	return slices.ContainsFunc(env, func(one string) bool {
		value, isSet := strings.CutPrefix(one, "NO_COLOR=")
		return isSet && value != "" || one == "TERM=dumb"
	})
}

// paint colours text, if that can be seen.
func (s *screen) paint(colour color.Attribute, text string) string {
	c := color.New(colour)
	if s.colours {
		c.EnableColor()
	} else {
		c.DisableColor()
	}
	return c.Sprint(text)
}

// noColour is the terminal's own. It has as many bytes as a colour: a table's columns stay aligned only if a whole column
// has escapes of one length.
const noColour color.Attribute = 39

// stateColour is of a module's state, or of a token's.
func stateColour(state string) color.Attribute {
	switch module := supervisor.State(state); {
	case module == supervisor.Ready, state == tokenValid:
		return color.FgGreen
	case module == supervisor.Starting, module == supervisor.Draining:
		return color.FgYellow
	case isIll(module):
		return color.FgRed
	}
	return noColour
}

// table prints rows of cells below the headings, which are the first row. Cells are neutralised, as most of what is in them
// came from a module; those below the heading STATE are coloured.
func (s *screen) table(rows [][]string) error {
	out := tabwriter.NewWriter(s, 0, 0, 2, ' ', 0)
	state := slices.Index(rows[0], "STATE")
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = clean(cell)
		}
		if state >= 0 {
			cells[state] = s.paint(stateColour(cells[state]), cells[state])
		}
		fmt.Fprintln(out, strings.Join(cells, "\t"))
	}
	return out.Flush()
}

// fields prints pairs of a name and a value below each other; a pair without a value is left out.
func (s *screen) fields(pairs [][2]string) error {
	out := tabwriter.NewWriter(s, 0, 0, 2, ' ', 0)
	for _, pair := range pairs {
		if pair[1] != "" {
			fmt.Fprintf(out, "%s\t%s\n", pair[0], strings.ReplaceAll(cleanLines(pair[1]), "\n", "\n\t"))
		}
	}
	return out.Flush()
}

// json prints value as indented JSON, in which nothing is left that a terminal would obey.
func (s *screen) json(value any) error {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("encode the output: %w", err)
	}
	_, err := io.WriteString(s, cleanJSON(out.String()))
	return err
}

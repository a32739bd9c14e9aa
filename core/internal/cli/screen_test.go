package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/supervisor"
)

func TestColours(t *testing.T) {
	t.Parallel()
	require.True(t, refusesColours([]string{"A=b", "NO_COLOR=1"}))
	require.True(t, refusesColours([]string{"TERM=dumb"}))
	require.False(t, refusesColours([]string{"NO_COLOR=", "TERM=xterm"}), "an empty NO_COLOR says nothing")
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	defer file.Close()
	require.False(t, wantsColours(file, nil), "nobody looks at a file")
	require.False(t, wantsColours(&strings.Builder{}, nil))
}

// Colours must not move the columns.
func TestTableIsAlignedInColour(t *testing.T) {
	t.Parallel()
	rows := [][]string{{"NAME", "STATE", "REASON"}, {"x", "", "none"}, {"y", "valid", "a token's"}}
	for _, state := range supervisor.States() {
		rows = append(rows, []string{"blog", string(state), "because"})
	}
	var plain, coloured strings.Builder
	require.NoError(t, (&screen{Writer: &plain}).table(rows))
	require.NoError(t, (&screen{Writer: &coloured, colours: true}).table(rows))
	require.NotContains(t, plain.String(), "\x1b")
	require.Contains(t, coloured.String(), "\x1b[32mready\x1b[0m")
	require.Contains(t, coloured.String(), "\x1b[31mcrash_loop\x1b[0m")
	require.Equal(t, plain.String(), regexp.MustCompile("\x1b\\[\\d+m").ReplaceAllString(coloured.String(), ""))
}

func TestCleanJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"a":"b ü 漢 🙂"}` + "\n": `{"a":"b ü 漢 🙂"}` + "\n",
		"\"\u009b\u202e\x7f\"":   `"\u009b\u202e\u007f"`,
		"\"\U000E0041\"":         `"\udb40\udc41"`,
	} {
		require.Equal(t, want, cleanJSON(text))
	}
	require.Equal(t, "\u009b\u202e\x7f\U000E0041", decode[string](t, cleanJSON("\"\u009b\u202e\x7f\U000E0041\"")))
}

func TestAge(t *testing.T) {
	t.Parallel()
	for ago, want := range map[time.Duration]string{
		-time.Hour: "0s", 3500 * time.Millisecond: "3s", 90 * time.Second: "1m", 61 * time.Minute: "1h", 47 * time.Hour: "47h",
		50 * time.Hour: "2d",
	} {
		require.Equal(t, want, age(time.Now().Add(-ago)), ago.String())
	}
	require.Equal(t, "-", age(time.Time{}))
}

func TestTree(t *testing.T) {
	t.Parallel()
	g := &graph{
		Nodes: []node{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}, {Name: "x"}, {Name: "y"}},
		Edges: []edge{
			{From: "a", To: "b"}, {From: "a", To: "c"}, {From: "c", To: "d"},
			{From: "b", To: "d"}, {From: "d", To: "b"}, // a circle below a
			{From: "x", To: "y"}, {From: "y", To: "x"}, // one that nothing leads to
		},
	}
	for i := range g.Nodes {
		g.Nodes[i].State = "held"
	}
	for i := range g.Edges {
		g.Edges[i].Constraint = "*"
	}
	g.Edges[0].Services = []string{"b.v1.One", "b.v1.Two"}
	var out strings.Builder
	require.NoError(t, g.tree(&out))
	require.Equal(t, `a (held)
├── b (held) *, calls b.v1.One, b.v1.Two
│   └── d (held) *
│       └── b (held) *, see above
└── c (held) *
    └── d (held) *, see above
x (held)
└── y (held) *
    └── x (held) *, see above
`, out.String())
}

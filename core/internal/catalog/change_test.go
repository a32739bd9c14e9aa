package catalog

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// errWish is why somebody does not want a module.
var errWish = errors.New("nobody wants it")

func wished(err error) bool { return errors.Is(err, errWish) }

// summary is a change in a few words.
func summary(c *Change) (words []string) {
	for _, s := range c.Steps {
		words = append(words, string(s.Act)+" "+s.Name)
	}
	for _, p := range c.Refused {
		words = append(words, "refuse "+p.Name)
	}
	return words
}

// TestPlan: each case begins with base 1.0.0, shop, which requires base ^1.0, and lone.
func TestPlan(t *testing.T) {
	t.Parallel()
	const needsBase = "requires: { modules: { base: \"^1.0\" } }\n"
	cases := map[string]struct {
		install map[string]string // name and version, and the rest of the manifest
		remove  []string
		refuse  map[string]error
		want    []string
	}{
		"nothing":              {},
		"new":                  {install: map[string]string{"extra 1.0.0": ""}, want: []string{"start extra"}},
		"new, held":            {install: map[string]string{"extra 1.0.0": requires("absent: \"*\"")}},
		"another version":      {install: map[string]string{"lone 1.1.0": ""}, want: []string{"upgrade lone"}},
		"another manifest":     {install: map[string]string{"lone 1.0.0": "description: Alone.\n"}, want: []string{"upgrade lone"}},
		"gone":                 {remove: []string{"lone"}, want: []string{"stop lone"}},
		"gone, and needed":     {remove: []string{"base"}, want: []string{"refuse base"}},
		"gone together":        {remove: []string{"base", "shop"}, want: []string{"stop shop", "stop base"}},
		"too new for others":   {install: map[string]string{"base 2.0.0": ""}, want: []string{"refuse base"}},
		"asks for too much":    {install: map[string]string{"shop 2.0.0": requires("base: ^2.0")}, want: []string{"refuse shop"}},
		"cannot be read":       {install: map[string]string{"lone 1.1.0": "nonsense: 1\n"}, want: []string{"refuse lone"}},
		"unwanted":             {refuse: map[string]error{"lone": errWish}, want: []string{"stop lone"}},
		"unwanted, and needed": {refuse: map[string]error{"base": errWish}, want: []string{"stop shop", "stop base"}},
		"bad and good": {
			install: map[string]string{"base 2.0.0": "", "lone 1.1.0": ""}, want: []string{"upgrade lone", "refuse base"},
		},
		"one does without the other, which goes": {
			install: map[string]string{"shop 2.0.0": ""}, remove: []string{"base"}, want: []string{"upgrade shop", "stop base"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, other := t.TempDir(), t.TempDir()
			for _, in := range []string{dir, other} {
				install(t, in, "base 1.0.0", "")
				install(t, in, "shop 1.0.0", needsBase)
				install(t, in, "lone 1.0.0", "")
			}
			now := scan(t, dir)
			for what, rest := range c.install {
				install(t, other, what, rest)
			}
			for _, gone := range c.remove {
				require.NoError(t, os.RemoveAll(filepath.Join(other, gone)))
			}
			wanted := scan(t, other)
			for refused, why := range c.refuse {
				wanted.Refuse(refused, why)
			}
			change := Plan(now, wanted, wished)
			require.Equal(t, c.want, summary(change))
			for _, refusal := range change.Refused {
				require.ErrorContains(t, refusal.Err, "fix: ")
				require.True(t, now.same(change.Next, refusal.Name), "what is refused remains")
			}
			require.Len(t, now.Modules, 3, "what runs is not touched")
		})
	}
}

func TestAllows(t *testing.T) {
	t.Parallel()
	dir, other := t.TempDir(), t.TempDir()
	install(t, dir, "base 1.0.0", "")
	install(t, dir, "shop 1.0.0", requires("base: ^1.0"))
	install(t, other, "base 2.0.0", "")
	install(t, other, "shop 2.0.0", requires("base: ^2.0"))
	now, next := scan(t, dir), Plan(scan(t, dir), scan(t, other), wished).Next
	require.ErrorContains(t, now.Allows(next, "base"), "shop requires base ^1.0, but 2.0.0 is installed")
	require.ErrorContains(t, now.Allows(next, "shop"), "shop requires base ^2.0, but 1.0.0 is installed")
	require.NoError(t, now.Allows(next, "base", "shop"))
}

func TestRevision(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	revision := func() string { return scan(t, dir).Get("blog").Revision }
	folder := install(t, dir, "blog 1.0.0", "config: { schema: config.schema.json }\n")
	write(t, filepath.Join(folder, "config.schema.json"), `{"type":"object"}`, 0o644)
	seen := map[string]bool{revision(): true}
	write(t, filepath.Join(folder, "page.html"), "hello", 0o644)
	require.True(t, seen[revision()], "the platform does not read it")
	for path, text := range map[string]string{
		"config.schema.json": `{"type":"object","title":"x"}`, "bin/blog": script + "# other\n",
		"module.yaml": manifestText("blog", "1.0.1", "config: { schema: config.schema.json }\n"),
	} {
		write(t, filepath.Join(folder, path), text, 0o755)
		require.False(t, seen[revision()], path)
		seen[revision()] = true
	}
}

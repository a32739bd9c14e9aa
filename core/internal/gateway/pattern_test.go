package gateway

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/manifest"
)

func patternOf(path string) pattern { return (&manifest.Route{Path: path}).Segments() }

func TestPatternMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, path string
		params        []string // names and values; nil: no match
	}{
		{"/", "/", []string{}},
		{"/", "/a", nil},
		{"/a", "/", nil},
		{"/a", "/a", []string{}},
		{"/a", "/a/", nil},
		{"/a", "/ab", nil},
		{"/a", "/a/b", nil},
		{"/a/b", "/a", nil},
		{"/{x}", "/a", []string{"x", "a"}},
		{"/{x}", "/", nil},
		{"/{x}", "/a/", nil},
		{"/{x}/b/{y}", "/a/b/c", []string{"x", "a", "y", "c"}},
		{"/{x}/b/{y}", "/a/c/c", nil},
		{"/f/{p...}", "/f/a", []string{"p", "a"}},
		{"/f/{p...}", "/f/a/b c", []string{"p", "a/b c"}},
		{"/f/{p...}", "/f", nil},
		{"/f/{p...}", "/f/", nil},
		{"/f/{p...}", "/f/a/", nil},
		{"/{p...}", "/a", []string{"p", "a"}},
		{"/{p...}", "/", nil},
		{"/{x}/{p...}", "/a/b/c", []string{"x", "a", "p", "b/c"}},
	} {
		params, ok := patternOf(c.pattern).match(c.path)
		require.Equal(t, c.params != nil, ok, "%s %s", c.pattern, c.path)
		var want []link.Param
		for i := 0; i < len(c.params); i += 2 {
			want = append(want, link.Param{Name: c.params[i], Value: c.params[i+1]})
		}
		require.Equal(t, want, params, "%s %s", c.pattern, c.path)
	}
}

func TestPatternOrder(t *testing.T) {
	t.Parallel()
	ordered := []string{"/", "/a", "/a/b", "/a/{x}", "/a/{x}/c", "/a/{x...}", "/b", "/{x}", "/{x}/b", "/{x}/{y}", "/{x...}"}
	for i, p := range ordered {
		for j, q := range ordered {
			require.Equal(t, i-j < 0, patternOf(p).compare(patternOf(q)) < 0, "%s %s", p, q)
		}
	}
}

func TestPatternForGin(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/": "/p", "/a": "/p/a", "/a/{id}": "/p/a/:1", "/{id}/b/{rest...}": "/p/:0/b/*2",
	} {
		require.Equal(t, want, patternOf(path).gin("/p"))
	}
}

package nearest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/nearest"
)

func TestNames(t *testing.T) {
	t.Parallel()
	names := []string{"apiVersion", "version", "permissions", "routes", "route", "blog", "billing"}
	cases := map[string][]string{
		"blgo":        {"blog"},
		"Blog":        {"blog"},
		"api_version": {"apiVersion", "version"},
		"routs":       {"routes", "route"},
		"permision":   {"permissions", "version"},
		"x":           nil,
		"":            nil,
		"database":    nil,
	}
	for word, want := range cases {
		require.ElementsMatch(t, want, nearest.Names(word, names), word)
	}
	require.Equal(t, "routes", nearest.Names("routess", names)[0], "the nearest comes first")
	require.Len(t, nearest.Names("aaaa", []string{"aaa1", "aaa2", "aaa3", "aaa4", "aaa5", "aaa6"}), 5)
	require.Empty(t, nearest.Names(strings.Repeat("a", 1000), []string{strings.Repeat("a", 1000)}))
}

func TestDistance(t *testing.T) {
	t.Parallel()
	require.Equal(t, 0, nearest.Distance("kitten", "kitten"))
	require.Equal(t, 3, nearest.Distance("kitten", "sitting"))
	require.Equal(t, 6, nearest.Distance("", "kitten"))
	require.Equal(t, 6, nearest.Distance("kitten", ""))
}

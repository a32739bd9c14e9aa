package admin

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseTTL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"30d": 720 * time.Hour, "1d": 24 * time.Hour, "12h": 12 * time.Hour, "90m": 90 * time.Minute, "1h30m": 90 * time.Minute,
		"36500d": 36500 * 24 * time.Hour,
	} {
		got, err := ParseTTL(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"", "30", "0", "0d", "-1d", "-5h", "d", "1.5d", "1d12h", "30 d", "110000d", "99999999999999999999d", "soon",
	} {
		_, err := ParseTTL(text)
		require.ErrorContains(t, err, "\nfix: ", text)
	}
}

func TestSplitFix(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, what, fix string }{
		"none":               {"it broke", "it broke", ""},
		"a line of its own":  {"it broke\nfix: mend it", "it broke", "mend it"},
		"two of them":        {"a\nfix: b\nc\nfix: d", "a\nfix: b\nc", "d"},
		"not the last line":  {"a\nfix: b\nand 3 more", "a\nfix: b\nand 3 more", ""},
		"in brackets":        {"it broke (fix: mend it)", "it broke", "mend it"},
		"brackets within":    {"it broke (fix: set data.dir (in config.yaml))", "it broke", "set data.dir (in config.yaml)"},
		"in the middle":      {"it broke (fix: mend it): disk full", "it broke: disk full", "mend it"},
		"brackets left open": {"it broke (fix: mend it", "it broke (fix: mend it", ""},
		"surrounding space":  {"\n it broke\nfix: mend it\n", "it broke", "mend it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			what, fix := SplitFix(c.text)
			require.Equal(t, c.what, what)
			require.Equal(t, c.fix, fix)
		})
	}
}

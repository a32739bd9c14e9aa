package canonical

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPrintable(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "Ada", "Ada Lovelace", "é, ü, 林, 🦊", "<b>&\"'", "a\ufffdb"} {
		require.True(t, Printable(text), "%q", text)
	}
	for name, text := range map[string]string{
		"escape": "a\x1b[31m", "line break": "a\nb", "tab": "a\tb", "NUL": "\x00", "C1": "a\u009bb", "no-break space": "a\u00a0b",
		"written from the right": "a\u202eb", "zero width": "a\u200bb", "byte order mark": "\ufeffa", "private use": "\ue000",
		"not UTF-8": "a\xff", "half a character": "\xc3",
	} {
		require.False(t, Printable(text), name)
	}
}

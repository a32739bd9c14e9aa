package logs

import (
	"os"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
)

func TestTextOnATerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	terminal := openTerminal(t)
	for _, format := range []string{"auto", "text"} {
		text, color, err := style(format, terminal)
		require.NoError(t, err)
		require.True(t, text)
		require.Equal(t, hclog.ForceColor, color)
	}
	text, color, err := style("json", terminal)
	require.NoError(t, err)
	require.False(t, text)
	require.Equal(t, hclog.ColorOff, color)

	t.Setenv("NO_COLOR", "1")
	text, color, err = style("auto", terminal)
	require.NoError(t, err)
	require.True(t, text)
	require.Equal(t, hclog.ColorOff, color)
}

// openTerminal returns the master side of a pseudo-terminal, which is a terminal as far as a program can tell.
func openTerminal(t *testing.T) *os.File {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, terminal.Close()) })
	return terminal
}

package logs

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func collect(t *testing.T) (*LineWriter, func() []string) {
	t.Helper()
	var mu sync.Mutex
	var lines []string
	w := NewLineWriter(func(line []byte) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, string(line))
	})
	return w, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return lines
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	long, cut := strings.Repeat("x", MaxLine), strings.Repeat("x", MaxLine-len(CutMark))+CutMark
	for _, test := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{"a\nb\r\n\nc", []string{"a", "b", "", "c"}},
		{"a\n", []string{"a"}},
		{long + "\nnext", []string{long, "next"}},
		{long + "y\nnext\n", []string{cut, "next"}},
		{long + long + long, []string{cut}},
		{long + long + "\n" + long + long + "\nnext", []string{cut, cut, "next"}},
	} {
		for name, reader := range map[string]io.Reader{
			"at once":   strings.NewReader(test.text),
			"in halves": iotest.HalfReader(strings.NewReader(test.text)),
			"by bytes":  iotest.OneByteReader(strings.NewReader(test.text)),
		} {
			w, lines := collect(t)
			n, err := io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{reader})
			require.NoError(t, err)
			require.Equal(t, int64(len(test.text)), n)
			require.NoError(t, w.Close())
			require.Equal(t, test.want, lines(), name)
			for _, line := range lines() {
				require.LessOrEqual(t, len(line), MaxLine)
			}
		}
	}
}

// A flood without line ends is seen before it ends, and takes no memory.
func TestFlood(t *testing.T) {
	t.Parallel()
	w, lines := collect(t)
	chunk := bytes.Repeat([]byte("x"), 100<<10)
	for range 100 {
		_, err := w.Write(chunk)
		require.NoError(t, err)
	}
	require.Len(t, lines(), 1)
	require.LessOrEqual(t, cap(w.partial), 4*MaxLine)
	_, err := w.Write([]byte("\nnext\n"))
	require.NoError(t, err)
	require.Equal(t, "next", lines()[1])
}

func TestLinesOfSeveralWriters(t *testing.T) {
	t.Parallel()
	w, lines := collect(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				if _, err := w.Write([]byte("whole\n")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	require.Len(t, lines(), 1600)
	for _, line := range lines() {
		require.Equal(t, "whole", line)
	}
}

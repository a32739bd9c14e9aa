package hop

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWatchThatHasExpired(t *testing.T) {
	t.Parallel()
	s := NewWatch()
	ctx, cancel := context.WithCancel(t.Context())
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader("x"))
	s.Begin(httptest.NewRecorder(), r, time.Second)
	s.Heed(ctx)
	require.True(t, s.BeginAnswer())
	require.True(t, s.Attach(nil))
	cancel()
	require.True(t, s.Unwatch())
	require.False(t, s.BeginAnswer())
	require.False(t, s.Attach(nil))
	_, err := s.Read(r.Body, make([]byte, 1))
	require.ErrorIs(t, err, http.ErrBodyReadAfterClose)
	require.NoError(t, s.BodyFault())
	require.True(t, s.End())
}

func TestWhoIsToBlameForABody(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		reading bool
		idle    time.Duration
		stalls  time.Time
		err     error
		blamed  bool
	}{
		"the client broke off":                   {true, 0, time.Time{}, io.ErrUnexpectedEOF, true},
		"the client broke off as we stopped":     {false, 0, time.Time{}, io.ErrUnexpectedEOF, true},
		"the server's own deadline":              {true, 0, time.Time{}, os.ErrDeadlineExceeded, true},
		"we stopped":                             {false, 0, time.Time{}, os.ErrDeadlineExceeded, false},
		"we stopped before the client stalled":   {false, time.Hour, time.Now().Add(time.Hour), os.ErrDeadlineExceeded, false},
		"it stalled, and that ended the context": {false, time.Second, time.Now(), os.ErrDeadlineExceeded, true},
	} {
		s := Watch{reading: test.reading, idle: test.idle, stalls: test.stalls}
		s.blame(test.err)
		require.Equal(t, test.blamed, s.BodyFault() != nil, name)
	}
}

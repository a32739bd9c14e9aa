package conformance

import (
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWriteDeadlineEndsAWaitForTheClient: a handler that sets one is not held up by a client that reads nothing.
func TestWriteDeadlineEndsAWaitForTheClient(t *testing.T) {
	each(t, func(t *testing.T, on transport) {
		for name, flush := range map[string]bool{"flushed": true, "whole": false} {
			failed := make(chan error, 1)
			rig := on.module(t, func(w http.ResponseWriter, _ *http.Request) {
				stream := http.NewResponseController(w)
				if err := stream.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
					failed <- err
					return
				}
				failed <- writeUntilLate(w, stream, flush)
			})
			res := rig.Start(http.MethodGet, "/", nil)
			require.ErrorIs(t, <-failed, os.ErrDeadlineExceeded, name)
			_ = res.Body.Close()
		}
	})
}

func writeUntilLate(w http.ResponseWriter, stream *http.ResponseController, flush bool) error {
	piece := make([]byte, 8<<10)
	for {
		if err := stream.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return err
		}
		_, err := w.Write(piece)
		if flush {
			err = errors.Join(err, stream.Flush())
		}
		if err != nil {
			return err
		}
	}
}

package passthrough_test

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
)

// A callee that takes no more calls waits for the end of the connection, which comes once it has none.
func TestGoAwayEndsAnIdleConnection(t *testing.T) {
	for name, last := range map[string]func(p *peer){
		"of no calls": func(p *peer) { _ = p.WriteGoAway(0, http2.ErrCodeNo, nil) },
		"after the last call": func(p *peer) {
			id := p.asked()
			_ = p.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil) // as grpc-go's server begins
			_ = p.WritePing(false, [8]byte{1})
			p.headers(id, false, ":status", "200", "content-type", "application/grpc")
			p.headers(id, true, "grpc-status", "0")
		},
		"of a call that it refuses": func(p *peer) {
			p.asked()
			_ = p.WriteGoAway(0, http2.ErrCodeNo, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan struct{})
			to := callee(t, func(p *peer) {
				last(p)
				_, _ = io.Copy(io.Discard, p.conn)
				close(ended)
			})
			if name != "of no calls" {
				conn := dial(t, serve(t, straight(to), usual))
				_, _ = call(t.Context(), conn, []byte("x")) // what becomes of it is not the question
			}
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				require.Fail(t, "the connection is kept")
			}
			require.False(t, to.Usable())
		})
	}
}

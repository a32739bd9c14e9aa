package gateway

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/plugin-api/link"
)

// TestSocketsThatAreLent: only what is plain TCP below, and whose client has said nothing that was lost.
func TestSocketsThatAreLent(t *testing.T) {
	t.Parallel()
	tcp, other := new(net.TCPConn), struct{ net.Conn }{}
	for name, test := range map[string]struct {
		conn net.Conn
		lent bool
	}{
		"plain":       {&checkedConn{Conn: &clientConn{Conn: tcp}}, true},
		"TLS":         {&checkedTLSConn{checkedConn: &checkedConn{Conn: &clientConn{Conn: tcp}}}, false},
		"HTTP/2":      {tcp, false},
		"no TCP":      {&checkedConn{Conn: &clientConn{Conn: other}}, false},
		"not counted": {&checkedConn{Conn: tcp}, false},
	} {
		require.Equal(t, test.lent, link.SocketOf(offerSocket(t.Context(), test.conn)) != nil, name)
	}
	spoilt := &checkedConn{Conn: &clientConn{Conn: tcp}, fault: errFolded}
	_, err := link.SocketOf(offerSocket(t.Context(), spoilt))()
	require.ErrorIs(t, err, errFolded)
}

// TestUpgradedConnectionEndsWithItsModule, whoever holds the client's socket.
func TestUpgradedConnectionEndsWithItsModule(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*fixture, *instance.Instance){
		"killed":  func(_ *fixture, inst *instance.Instance) { inst.Kill() },
		"stopped": func(f *fixture, inst *instance.Instance) { inst.Stop(f.t.Context()) },
		"drained": func(f *fixture, _ *instance.Instance) { f.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, inst := withEcho(t, nil)
			conn := f.dial()
			f.upgrade(conn)
			_, err := io.WriteString(conn, "x")
			require.NoError(t, err)
			_, err = io.ReadFull(conn, make([]byte, 1))
			require.NoError(t, err)
			require.Equal(t, 1, f.gateway.census.count())
			began := time.Now()
			end(f, inst)
			_, err = conn.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
			require.Less(t, time.Since(began), 3*time.Second)
			f.awaitConns(0)
			require.Eventually(t, func() bool { return f.gateway.handlers.n.Load() == 0 }, soon, time.Millisecond)
		})
	}
}

package http1

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link/internal/hop"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

// A server that keeps a short accept queue answers a burst late, not with an error.
func TestFullAcceptQueueIsWaitedFor(t *testing.T) {
	t.Parallel()
	path := linktest.SocketPath(t)
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer syscall.Close(fd)
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
	require.NoError(t, syscall.Listen(fd, 0))
	p := pool{dialer: hop.Dialer{Socket: path}}
	first, err := p.dial(t.Context())
	require.NoError(t, err)
	defer first.Close()
	_, err = net.Dial("unix", path)
	require.ErrorIs(t, err, syscall.EAGAIN)
	second := make(chan error, 1)
	go func() {
		c, err := p.dial(t.Context())
		if err == nil {
			_ = c.Close()
		}
		second <- err
	}()
	select {
	case err := <-second:
		t.Fatal("did not wait: ", err)
	case <-time.After(20 * time.Millisecond):
	}
	accepted, _, err := syscall.Accept(fd)
	require.NoError(t, err)
	defer syscall.Close(accepted)
	require.NoError(t, <-second)
}

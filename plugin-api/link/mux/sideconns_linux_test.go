package mux

import (
	"io"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// socketPair returns two connected unix sockets, which are closed with the test.
func socketPair(t *testing.T) (near *net.UnixConn, far net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "")
		ends[i], err = net.FileConn(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		t.Cleanup(func() { _ = ends[i].Close() })
	}
	near, ok := ends[0].(*net.UnixConn)
	require.True(t, ok)
	return near, ends[1]
}

// sendBuffer returns what the kernel may hold for c, in bytes.
func sendBuffer(t *testing.T, c *net.UnixConn) (bytes int) {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		bytes, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
	}))
	require.NoError(t, err)
	return bytes
}

// What clients do not read waits in the kernel as the module's memory: of many answers at once only a few may have wide
// buffers, and a connection gets its wide one back when the rush is over.
func TestManySideConnectionsHaveNarrowBuffers(t *testing.T) {
	t.Parallel()
	const many = 200
	p := newSideConns()
	for i := range uint32(many) {
		near, _ := socketPair(t)
		p.add(preface{side: i + 1}, near)
	}
	total := 0
	var last *sideConn
	for i := range uint32(many) {
		c, err := p.acquire(t.Context(), i, nil)
		require.NoError(t, err)
		total += sendBuffer(t, c.conn)
		last = c
	}
	require.Less(t, total, 64<<20)
	require.Less(t, sendBuffer(t, last.conn), 128<<10)
	for i := range uint32(many) {
		p.free(i+1, true)
	}
	for range maxWide {
		c, err := p.acquire(t.Context(), 1, nil)
		require.NoError(t, err)
		require.Greater(t, sendBuffer(t, c.conn), 128<<10)
	}
}

// The core frees a side connection as soon as it has the last byte: that may be before the write of it has returned.
func TestSideConnectionIsFreeWithItsLastByte(t *testing.T) {
	t.Parallel()
	near, far := socketPair(t)
	c := &sideConn{conn: near}
	one, two := make(chan error, 1), make(chan error, 1)
	got := make([]byte, chunkHeader+1)
	go func() { one <- c.write(new(chunk), lastChunk|1, []byte{0}) }()
	_, err := io.ReadFull(far, got)
	require.NoError(t, err)
	go func() { two <- c.write(new(chunk), 1, []byte{1}) }() // another answer
	_, err = io.ReadFull(far, got)
	require.NoError(t, err)
	require.Equal(t, []byte{0, 0, 0, 1, 1}, got)
	require.NoError(t, <-one)
	require.NoError(t, <-two)
}

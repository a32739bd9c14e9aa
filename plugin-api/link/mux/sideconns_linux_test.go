package mux

import (
	"io"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The core frees a side connection as soon as it has the last byte: that may be before the write of it has returned.
func TestSideConnectionIsFreeWithItsLastByte(t *testing.T) {
	t.Parallel()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "")
		ends[i], err = net.FileConn(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		defer ends[i].Close()
	}
	end, ok := ends[1].(*net.UnixConn)
	require.True(t, ok)
	c := &sideConn{conn: end}
	one, two := make(chan error, 1), make(chan error, 1)
	got := make([]byte, chunkHeader+1)
	go func() { one <- c.write(new(chunk), lastChunk|1, []byte{0}) }()
	_, err = io.ReadFull(ends[0], got)
	require.NoError(t, err)
	go func() { two <- c.write(new(chunk), 1, []byte{1}) }() // another answer
	_, err = io.ReadFull(ends[0], got)
	require.NoError(t, err)
	require.Equal(t, []byte{0, 0, 0, 1, 1}, got)
	require.NoError(t, <-one)
	require.NoError(t, <-two)
}

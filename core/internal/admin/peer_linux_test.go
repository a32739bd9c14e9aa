package admin

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// dialAs connects as another user: the kernel notes the user of the thread that connects.
func dialAs(uid int, path string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		none := ^uintptr(0)
		if _, _, failed := unix.RawSyscall(unix.SYS_SETRESUID, none, uintptr(uid), none); failed != 0 {
			err = failed
			return
		}
		conn, err = net.Dial("unix", path)
	}()
	<-done
	return conn, err
}

// Even where the socket's mode lets another user in, the listener does not. Only root can play another user; without it
// the listener plays one.
func TestOtherUsersAreRefused(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "control")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	path := filepath.Join(dir, "s")
	ln, err := Listen(path, hclog.NewNullLogger())
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chmod(path, 0o666))
	stranger := 65534
	if os.Getuid() != 0 {
		stranger = os.Getuid()
		ln.(*guarded).owner++ //nolint:errcheck,forcetypeassert // it panics, and so does the test
	}
	admitted := make(chan bool, 1)
	go func() {
		_, err := ln.Accept()
		admitted <- err == nil
	}()
	conn, err := dialAs(stranger, path)
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(deadline)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "the connection must be closed without a word")
	require.NoError(t, conn.Close())
	require.NoError(t, ln.Close())
	require.False(t, receive(t, admitted))
}

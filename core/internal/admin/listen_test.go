package admin

import (
	"context"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
)

func TestListen(t *testing.T) {
	t.Parallel()
	path := SocketPath(t.TempDir())
	ln, err := Listen(path, hclog.NewNullLogger())
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())
	_, err = Listen(path, hclog.NewNullLogger())
	require.ErrorContains(t, err, "open the control socket")
	require.NoError(t, ln.Close())
	require.NoFileExists(t, path)
}

func TestListenPathTooLong(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	_, err := Listen(path, hclog.NewNullLogger())
	require.ErrorContains(t, err, "at most 107 are possible")
	require.ErrorContains(t, err, "\nfix: ")
	require.NoFileExists(t, path)
}

func TestAdmits(t *testing.T) {
	t.Parallel()
	require.True(t, admits(1000, 1000))
	require.True(t, admits(0, 1000))
	require.True(t, admits(0, 0))
	require.False(t, admits(1001, 1000))
	require.False(t, admits(1000, 0))
	require.False(t, admits(-1, 0))
}

func TestPeerUID(t *testing.T) {
	t.Parallel()
	path := SocketPath(t.TempDir())
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ln.Close()) })
	client, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	conn, err := ln.AcceptUnix()
	require.NoError(t, err)
	uid, err := peerUID(conn)
	require.NoError(t, err)
	require.Equal(t, os.Getuid(), uid)
	require.NoError(t, conn.Close())
	_, err = peerUID(conn)
	require.Error(t, err, "a peer that cannot be told is none of ours")
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	dial := func(errno syscall.Errno) error {
		return &url.Error{Op: "Get", URL: "http://platformd", Err: &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", errno)}}
	}
	require.ErrorIs(t, unreachable(dial(syscall.ENOENT)), ErrNotRunning)
	require.ErrorIs(t, unreachable(dial(syscall.ECONNREFUSED)), ErrNotRunning)
	require.ErrorIs(t, unreachable(dial(syscall.EACCES)), ErrRefused)
	require.ErrorIs(t, unreachable(context.DeadlineExceeded), ErrSilent)
	require.EqualError(t, unreachable(dial(syscall.ENOMEM)), "ask the daemon: dial: connect: cannot allocate memory")
	require.ErrorIs(t, unreachable(&url.Error{Err: context.Canceled}), context.Canceled)
}

// A daemon that accepts and never speaks: the kernel accepts also for a process that is stopped.
func TestSilentDaemon(t *testing.T) {
	t.Parallel()
	path := SocketPath(t.TempDir())
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = Dial(path).Info(ctx)
	require.ErrorIs(t, err, ErrSilent)
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := Dial(SocketPath(dir)).Info(t.Context())
	require.ErrorIs(t, err, ErrNotRunning)

	// What a daemon leaves that was killed.
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: SocketPath(dir), Net: "unix"})
	require.NoError(t, err)
	ln.SetUnlinkOnClose(false)
	require.NoError(t, ln.Close())
	_, err = Dial(SocketPath(dir)).Info(t.Context())
	require.ErrorIs(t, err, ErrNotRunning)
}

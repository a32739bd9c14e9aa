package admin

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/isolation"
)

// envDial makes a copy of the test binary a module that connects to a socket and tells how it went by its exit status.
const envDial = "ADMIN_TEST_DIAL"

const (
	exitAdmitted = 10
	exitDropped  = 11
	exitNoSocket = 12
)

// playModule does not return in a process that is to be a module.
func playModule() {
	isolation.Main()
	path := os.Getenv(envDial)
	if path == "" {
		return
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		os.Exit(exitNoSocket)
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	if _, err := conn.Read(make([]byte, 1)); os.IsTimeout(err) {
		os.Exit(exitAdmitted)
	}
	os.Exit(exitDropped)
}

// A module of the daemon's own user, whom the socket's mode and owner let in, is dropped.
func TestModulesAreRefused(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "pd")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	host := isolation.Probe()
	require.NotEqual(t, isolation.None, host.Level(), "nothing would tell a module from us here")
	sandbox, err := isolation.NewSandbox(host, dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sandbox.Close()) })
	path := SocketPath(dir)
	listener, err := Listen(path, hclog.NewNullLogger())
	require.NoError(t, err)
	admitted := make(chan bool, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_ = conn.Close()
		}
		admitted <- err == nil
	}()
	require.Equal(t, exitDropped, dialFromCell(t, sandbox, dir, path))
	require.NoError(t, listener.Close())
	require.False(t, receive(t, admitted))
}

// dialFromCell runs a module; the test binary lies where only its own user can come to it, so that it shares ours.
func dialFromCell(t *testing.T, sandbox *isolation.Sandbox, dir, socket string) int {
	t.Helper()
	executable, err := os.Executable()
	require.NoError(t, err)
	runtime := filepath.Join(dir, "1")
	require.NoError(t, os.Mkdir(runtime, 0o700))
	cell, err := sandbox.Cell(isolation.Spec{
		Name: "spy", Executable: executable, Dir: filepath.Dir(executable), Runtime: runtime,
	})
	require.NoError(t, err)
	require.Equal(t, os.Getuid(), cell.UID)
	cmd := cell.Command()
	cmd.Env = []string{envDial + "=" + socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	alive, lifeline, err := os.Pipe()
	require.NoError(t, err)
	cmd.ExtraFiles = []*os.File{alive}
	require.NoError(t, cell.Start(cmd))
	_ = cmd.Wait() // its status is the result
	require.NoError(t, alive.Close())
	require.NoError(t, lifeline.Close())
	require.NoError(t, cell.Close())
	return cmd.ProcessState.ExitCode()
}

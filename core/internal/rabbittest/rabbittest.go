// Package rabbittest gives tests a RabbitMQ node of their own, which they may kill, and a bad network on the way to one.
//
// It is for tests only; it must not be used by the product.
package rabbittest

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sbin is where Debian keeps RabbitMQ's programs that do not change the user first.
const sbin = "/usr/lib/rabbitmq/bin/"

// upWait bounds the start of a node, on a machine that does much else.
const upWait = 90 * time.Second

// killWait bounds the end of a node that was killed.
const killWait = 10 * time.Second

// Node is a RabbitMQ node. It is used by one goroutine.
type Node struct {
	testing.TB
	// Dir holds what it has; db in it is its database.
	Dir string

	name    string
	port    int
	process *exec.Cmd
}

// New prepares a node, which Start starts; it is killed at the end of the test. Where RabbitMQ is not installed the test is
// skipped, or fails if PLATFORMD_TEST_SERVICES=required.
func New(t testing.TB) *Node {
	t.Helper()
	if _, err := os.Stat(sbin + "rabbitmq-server"); err != nil {
		const fix = sbin + "rabbitmq-server is not there (fix: install Debian's package rabbitmq-server)"
		if os.Getenv("PLATFORMD_TEST_SERVICES") == "required" {
			t.Fatal(fix)
		}
		t.Skip(fix)
	}
	n := &Node{TB: t, Dir: t.TempDir(), port: freePort(t)}
	n.name = fmt.Sprintf("pdtest%d@localhost", n.port)
	n.write("rabbitmq.conf",
		fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d\nlog.console = false\ndisk_free_limit.absolute = 1MB\n", n.port))
	n.write("enabled_plugins", "[].")
	t.Cleanup(n.Kill)
	return n
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	address, ok := l.Addr().(*net.TCPAddr)
	require.True(t, ok)
	return address.Port
}

func (n *Node) write(name, text string) {
	n.Helper()
	require.NoError(n, os.WriteFile(filepath.Join(n.Dir, name), []byte(text), 0o600))
}

// URL is where it listens, whenever it runs.
func (n *Node) URL() string { return fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", n.port) }

func (n *Node) env() []string {
	env := append(os.Environ(), "HOME="+n.Dir, "RABBITMQ_NODENAME="+n.name, fmt.Sprint("RABBITMQ_DIST_PORT=", freePort(n)),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 1:1 +sbwt none", "RABBITMQ_PID_FILE="+filepath.Join(n.Dir, "pid"))
	for name, file := range map[string]string{
		"CONFIG_FILE": "rabbitmq.conf", "MNESIA_BASE": "db", "LOG_BASE": "log", "ENABLED_PLUGINS_FILE": "enabled_plugins",
	} {
		env = append(env, "RABBITMQ_"+name+"="+filepath.Join(n.Dir, file))
	}
	return env
}

// Start starts it, and does not wait: AwaitUp does.
func (n *Node) Start() {
	n.Helper()
	n.process = exec.CommandContext(context.WithoutCancel(n.Context()), sbin+"rabbitmq-server")
	n.process.Env = n.env()
	n.process.Stdout, n.process.WaitDelay = io.Discard, killWait // a pipe: Wait is for all that have it, not for the shell alone
	n.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}  // its shell and its node are killed together
	require.NoError(n, n.process.Start())
}

// AwaitUp waits until it lets clients in.
func (n *Node) AwaitUp() {
	n.Helper()
	require.Eventually(n, n.answers, upWait, 50*time.Millisecond, "the broker does not come up")
}

// answers tells whether it speaks AMQP. That it takes connections says little: so does one that dies.
func (n *Node) answers() bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(n.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", n.port))
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	if _, err := conn.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
		return false
	}
	_, err = conn.Read(make([]byte, 1))
	return err == nil
}

// Kill is kill -9 of the node and all that it started; nothing if it does not run.
func (n *Node) Kill() {
	if n.process == nil {
		return
	}
	require.NoError(n, syscall.Kill(-n.process.Process.Pid, syscall.SIGKILL))
	_ = n.process.Wait() // says that it was killed
	n.process = nil
}

// Ctl runs rabbitmqctl.
func (n *Node) Ctl(args ...string) {
	n.Helper()
	command := exec.CommandContext(n.Context(), sbin+"rabbitmqctl", append([]string{"-q", "-n", n.name}, args...)...)
	command.Env = n.env()
	out, err := command.CombinedOutput()
	require.NoError(n, err, string(out))
}

// Package linktest helps the tests of the transports: it puts a transport where the gateway has it, behind a net/http server
// and in front of a module, and keeps what became of every exchange.
//
// It must not know any transport: the packages that it helps import it.
package linktest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Patience is how long a test waits for what must happen.
const Patience = 10 * time.Second

// Secret is what proves to the modules of tests that it is the core who speaks.
func Secret() []byte { return []byte("0123456789abcdef0123456789abcdef") }

// SocketPath returns the path of a socket that does not exist yet.
func SocketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pd") // t.TempDir holds the test's name; a socket's path must be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// Listen listens on a unix socket until the test ends.
func Listen(t testing.TB, path string) *Listener {
	t.Helper()
	ln, err := net.Listen("unix", path) //nolint:noctx // listening takes no time
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return &Listener{Listener: ln}
}

// Listener counts the connections that it accepted.
type Listener struct {
	net.Listener
	Accepted atomic.Int32
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.Accepted.Add(1)
	}
	return c, err
}

// HalfClose ends what c sends; c still receives.
func HalfClose(c net.Conn) error {
	half, ok := c.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("a %T cannot be closed by half", c)
	}
	return half.CloseWrite()
}

// Tick lets time pass, where time is what a test is about.
func Tick(d time.Duration) { <-time.After(d) }

// Settled waits until a counter has moved, and then stands still, and returns it.
func Settled(t testing.TB, counter *atomic.Int64) int64 {
	t.Helper()
	var last int64
	still := 0
	require.Eventually(t, func() bool {
		now := counter.Load()
		if still++; now != last || now == 0 {
			still = 0
		}
		last = now
		return still >= 10
	}, Patience, 20*time.Millisecond)
	return last
}

// Dribble writes to c until that fails; then it closes the channel.
func Dribble(c io.Writer) <-chan struct{} {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for _, err := c.Write(make([]byte, 100)); err == nil; _, err = c.Write(make([]byte, 100)) {
			Tick(time.Millisecond)
		}
	}()
	return stopped
}

// Zeros is an endless body.
type Zeros struct{}

// Read implements io.Reader.
func (Zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// ReaderFunc is a Reader made of its Read.
type ReaderFunc func([]byte) (int, error)

// Read implements io.Reader.
func (f ReaderFunc) Read(p []byte) (int, error) { return f(p) }

// Buffer is a bytes.Buffer that is safe for concurrent use.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String returns what was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

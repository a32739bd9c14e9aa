package passthrough

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// writer collects what many goroutines append and writes it together: one system call serves all of them. Nobody who flushes
// waits for a slow peer.
type writer struct {
	conn *net.UnixConn
	raw  syscall.RawConn

	mu      sync.Mutex // guards pending, writing and err, and the state of the connection that the writer belongs to
	pending []byte
	writing bool // a goroutine is at it, and will see what is appended meanwhile
	err     error
	slow    sync.WaitGroup

	// Of the goroutine that writes:
	out   []byte
	wrote int
	try   func(fd uintptr) bool // made once: it must not allocate
}

func (w *writer) init(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	w.conn, w.raw = conn, raw
	w.try = func(fd uintptr) bool {
		n, err := syscall.Write(int(fd), w.out[w.wrote:])
		if err == nil {
			w.wrote += n
		}
		return true // whatever it was: the slow way finds out
	}
	return nil
}

// Write implements io.Writer for the framer: it appends. The caller holds mu.
func (w *writer) Write(p []byte) (int, error) {
	w.pending = append(w.pending, p...)
	return len(p), nil
}

// begin reports whether the caller is to write: there is something, and nobody else is at it.
func (w *writer) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending) > maxBacklog && w.err == nil {
		w.err = errBacklog
		_ = w.conn.Close() // the reader ends the rest
	}
	if w.writing || w.err != nil || len(w.pending) == 0 {
		return false
	}
	w.writing = true
	return true
}

// swap makes what is pending the next to write; the caller holds mu. It reports false, and that nobody writes any more, if there
// is nothing.
func (w *writer) swap() bool {
	if len(w.pending) == 0 || w.err != nil {
		w.writing = false
		return false
	}
	w.out, w.pending, w.wrote = w.pending, w.out[:0], 0
	if cap(w.pending) > 2*maxPending {
		w.pending = nil // a burst must not be paid for ever after
	}
	return true
}

// push writes as much as the socket takes at once, and reports whether that was all.
func (w *writer) push() (all bool, err error) {
	if err := w.raw.Write(w.try); err != nil {
		return false, err
	}
	return w.wrote == len(w.out), nil
}

// pushSlowly waits for the peer to take the rest.
func (w *writer) pushSlowly() error {
	if err := w.conn.SetWriteDeadline(time.Now().Add(writePatience)); err != nil {
		return err
	}
	if _, err := w.conn.Write(w.out[w.wrote:]); err != nil {
		return err
	}
	return w.conn.SetWriteDeadline(time.Time{})
}

// fail ends the connection; mu is not held.
func (w *writer) fail(err error) {
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	w.pending = nil
	w.mu.Unlock()
	_ = w.conn.Close()
}

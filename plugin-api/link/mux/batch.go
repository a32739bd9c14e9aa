package mux

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"syscall"

	"github.com/platformd/platformd/plugin-api/link"
)

// maxBacklog bounds what waits to be written to a peer that does not read, in bytes. A burst of requests is less.
const maxBacklog = 16 << 20

// errBacklog is what a frame fails with that the peer would not take in any near future.
var errBacklog = errors.New("the module does not take what is sent to it")

// batch collects the frames that many goroutines send and writes them together: one system call then serves all of them.
// Its methods are safe for concurrent use and never block.
type batch struct {
	conn *net.UnixConn
	raw  syscall.RawConn

	mu      sync.Mutex
	pending []byte
	writing bool // a goroutine is at it, or will soon be; others only append
	err     error

	// Of the goroutine that writes:
	out   []byte
	wrote int
	try   func(fd uintptr) bool // made once: it must not allocate
}

func newBatch(conn *net.UnixConn) (*batch, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	b := &batch{conn: conn, raw: raw}
	b.try = func(fd uintptr) bool {
		n, err := syscall.Write(int(fd), b.out[b.wrote:])
		if err == nil {
			b.wrote += n
		}
		return true // whatever it was: the slow way finds out
	}
	return b, nil
}

// send sends frames. They arrive in the order in which they were sent. An error means that none of them will; urgent
// frames, which are small, are taken whatever the backlog is.
func (b *batch) send(frames []byte, urgent bool) error {
	b.mu.Lock()
	if b.err != nil {
		b.mu.Unlock()
		return b.err
	}
	if !urgent && len(b.pending) > maxBacklog {
		b.mu.Unlock()
		return errBacklog
	}
	b.pending = append(b.pending, frames...)
	mine := !b.writing
	b.writing = true
	b.mu.Unlock()
	if mine {
		runtime.Gosched() // who is about to send too gets the chance
		b.write()
	}
	return nil
}

// write writes until nothing is left. If the peer is slow, another goroutine goes on, so that no sender waits for it.
func (b *batch) write() {
	for b.take() {
		b.wrote = 0
		if err := b.raw.Write(b.try); err != nil {
			b.fail(err)
			return
		}
		if b.wrote < len(b.out) {
			go b.writeSlowly() // ends when all is written, or the connection is closed
			return
		}
	}
}

func (b *batch) writeSlowly() {
	for {
		if _, err := b.conn.Write(b.out[b.wrote:]); err != nil {
			b.fail(err)
			return
		}
		if b.wrote = 0; !b.take() {
			return
		}
	}
}

// take makes what is pending the next to write. It reports false, and that nobody writes any more, if there is nothing.
func (b *batch) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pending) == 0 || b.err != nil {
		b.writing = false
		return false
	}
	b.out, b.pending = b.pending, b.out[:0]
	if cap(b.pending) > maxPayload {
		b.pending = nil // a burst must not be paid for ever after
	}
	return true
}

// fail makes every later send fail, and the connection's reader notice.
func (b *batch) fail(err error) {
	b.mu.Lock()
	if b.err == nil {
		b.err = err
	}
	b.writing = false
	b.mu.Unlock()
	_ = b.conn.Close()
}

// close closes the connection; what is pending is lost.
func (b *batch) close() { b.fail(link.ErrClosed) }

package hop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

const (
	// dialPatience bounds the wait for room in the module's accept queue, dialPause is the time between two looks.
	dialPatience = time.Second
	dialPause    = 2 * time.Millisecond
)

// What the kernel may hold for a connection, in bytes. Linux doubles it, for what it needs itself, and counts it as the
// sender's memory.
const (
	// Wide is for large bodies.
	Wide = 1 << 20
	// Narrow is for one of very many connections, whose readers may all be slow.
	Narrow = 32 << 10
)

// Dialer connects the core to a module's data socket.
type Dialer struct {
	// Socket is the path of the data socket.
	Socket string
	// CheckPeer, if set, is asked about every new connection before the first byte is sent; an error refuses it.
	CheckPeer func(*net.UnixConn) error
}

// Dial makes a new connection. A full accept queue is waited for: servers of other languages often keep a short one.
func (d *Dialer) Dial(ctx context.Context) (*net.UnixConn, error) {
	var dialer net.Dialer
	for giveUp := time.Now().Add(dialPatience); ; {
		unix, err := dialer.DialContext(ctx, "unix", d.Socket)
		if err == nil {
			return d.admit(unix)
		}
		if !errors.Is(err, syscall.EAGAIN) || time.Now().After(giveUp) {
			return nil, fmt.Errorf("connect to the module's data socket: %w", err)
		}
		if err := pause(ctx, dialPause); err != nil {
			return nil, fmt.Errorf("wait for the module to accept connections: %w", err)
		}
	}
}

func (d *Dialer) admit(dialled net.Conn) (*net.UnixConn, error) {
	unix, ok := dialled.(*net.UnixConn)
	if !ok {
		_ = dialled.Close()
		return nil, fmt.Errorf("connect to the module's data socket: got a %T", dialled)
	}
	if d.CheckPeer != nil {
		if err := d.CheckPeer(unix); err != nil {
			_ = unix.Close()
			return nil, fmt.Errorf("check who listens on the module's data socket: %w", err)
		}
	}
	SetBuffer(unix, Wide)
	return unix, nil
}

// SetBuffer gives a connection its send buffer, as far as the kernel allows. Of a unix socket only the sender's counts.
func SetBuffer(c *net.UnixConn, bytes int) { _ = c.SetWriteBuffer(bytes) }

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package gateway

import (
	"context"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/platformd/platformd/plugin-api/link"
)

// offerSocket lets modules take over the client's own socket when they upgrade a connection. That needs plain HTTP/1.1: what
// TLS protects is encrypted here.
func offerSocket(ctx context.Context, conn net.Conn) context.Context {
	checked, ok := conn.(*checkedConn)
	if !ok {
		return ctx
	}
	counted, ok := checked.Conn.(*clientConn)
	if !ok {
		return ctx
	}
	tcp, ok := counted.Conn.(*net.TCPConn)
	if !ok {
		return ctx
	}
	return link.WithSocket(ctx, func() (*net.TCPConn, error) {
		if checked.fault != nil {
			return nil, checked.fault // part of what the client sent is missing
		}
		return tcp, limitUntaken(tcp, checked.patience)
	})
}

// limitUntaken has the system keep the rule that Write keeps for upgraded connections: one whose client has for so long had no
// room for what was sent, or acknowledged none of it, is reset.
func limitUntaken(tcp *net.TCPConn, patience time.Duration) error {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(patience.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return failed
}

package gateway

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// tlsListener hands out connections whose handshake is done. net/http would do it later; but which protocol was agreed on
// decides how the connection is read.
type tlsListener struct {
	net.Listener
	config *tls.Config
	limit  time.Duration // for one handshake
	log    hclog.Logger

	accepted chan accepted
	closed   context.Context // ends handshakes, and what waits for Accept
	close    context.CancelFunc
	running  sync.WaitGroup
}

type accepted struct {
	conn net.Conn
	err  error
}

func newTLSListener(ln net.Listener, config *tls.Config, limit time.Duration, log hclog.Logger) *tlsListener {
	l := &tlsListener{Listener: ln, config: config, limit: limit, log: log, accepted: make(chan accepted)}
	l.closed, l.close = context.WithCancel(context.Background())
	l.running.Go(l.run)
	return l
}

// Accept implements net.Listener.
func (l *tlsListener) Accept() (net.Conn, error) {
	select {
	case next := <-l.accepted:
		return next.conn, next.err
	case <-l.closed.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It also ends handshakes that are under way.
func (l *tlsListener) Close() error {
	l.close()
	err := l.Listener.Close()
	l.running.Wait()
	return err
}

func (l *tlsListener) run() {
	for l.closed.Err() == nil {
		conn, err := l.Listener.Accept()
		if err != nil {
			l.hand(accepted{err: err}) // net/http decides whether to go on, and after which pause
			continue
		}
		l.running.Go(func() { l.shakeHands(conn) })
	}
}

func (l *tlsListener) shakeHands(raw net.Conn) {
	conn := tls.Server(raw, l.config)
	ctx, cancel := context.WithTimeout(l.closed, l.limit)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		l.log.Debug("TLS handshake failed", "client", raw.RemoteAddr(), "error", err)
		_ = raw.Close()
		return
	}
	l.hand(accepted{conn: conn})
}

func (l *tlsListener) hand(next accepted) {
	select {
	case l.accepted <- next:
	case <-l.closed.Done():
		if next.conn != nil {
			_ = next.conn.Close()
		}
	}
}

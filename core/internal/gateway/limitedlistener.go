package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/platformd/platformd/plugin-api/problem"
)

const (
	// maxFarewells bounds the refused clients that are told why at the same time; others are just cut.
	maxFarewells = 256
	// farewellTime is how long a refused client may take to read why. Closing at once would reset the connection, and the
	// answer could be lost, because of the request that nobody has read.
	farewellTime = 500 * time.Millisecond
	// farewellBytes is how much of such a request is thrown away.
	farewellBytes = 256 << 10
	// refusalPause is the time between two lines in the log that say that clients are refused.
	refusalPause = time.Minute
)

// limitedListener hands out as many connections as the census allows, and refuses those beyond at once.
type limitedListener struct {
	net.Listener
	census  *census
	log     hclog.Logger
	refused *prometheus.CounterVec
	// busy is the answer to a client that is refused; empty if it would not be understood, because it awaits TLS.
	busy string

	warned    time.Time // used by Accept only, which one goroutine calls
	farewells tally
	waited    sync.Once
	closed    context.Context // ends farewells
	close     context.CancelFunc
}

func (g *Gateway) newLimitedListener(ln net.Listener) *limitedListener {
	l := &limitedListener{
		Listener: ln, census: g.census, log: g.log, refused: g.metrics.refused, farewells: newTally(),
	}
	if g.certs == nil {
		l.busy = busyAnswer()
	}
	l.closed, l.close = context.WithCancel(context.Background())
	return l
}

// busyAnswer is a whole answer: nothing of the request has to be known.
func busyAnswer() string {
	body, _ := json.Marshal(problem.New(http.StatusServiceUnavailable, codeUnavailable, "too many connections")) // plain texts
	return fmt.Sprintf("HTTP/1.1 503 Service Unavailable\r\nContent-Type: %s\r\nContent-Length: %d\r\nRetry-After: 1\r\n"+
		"Connection: close\r\n\r\n%s", problem.ContentType, len(body), body)
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		client, limit := l.census.admit(addressOf(conn))
		if limit == "" {
			return &clientConn{Conn: conn, leave: func() { l.census.leave(client) }}, nil
		}
		l.refuse(conn, limit)
	}
}

// Close implements net.Listener. It also ends farewells that are under way.
func (l *limitedListener) Close() error {
	l.close()
	err := l.Listener.Close()
	l.waited.Do(func() { l.farewells.wait(context.Background()) }) // net/http closes its listener too; one can wait
	return err
}

func (l *limitedListener) refuse(conn net.Conn, limit string) {
	l.refused.WithLabelValues(limit).Inc()
	if now := time.Now(); now.Sub(l.warned) > refusalPause {
		l.warned = now
		l.log.Warn("connections of clients are refused", "limit", limit, "client", conn.RemoteAddr(),
			"fix", "raise the limit; if the client is a proxy of yours, name it in server.trustedProxies")
	}
	if l.busy == "" || l.farewells.n.Load() >= maxFarewells {
		_ = conn.Close()
		return
	}
	l.farewells.add(1)
	go func() { defer l.farewells.add(-1); l.bidFarewell(conn) }()
}

func (l *limitedListener) bidFarewell(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(farewellTime))
	defer context.AfterFunc(l.closed, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := io.WriteString(conn, l.busy); err != nil {
		return
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, conn, farewellBytes) // until the client has read the answer, or takes too long
	}
}

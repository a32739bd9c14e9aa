package gateway

import (
	"bufio"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// answer is the http.ResponseWriter of one request. It remembers what the answer was, and knows what must happen when it
// begins.
type answer struct {
	http.ResponseWriter
	closing  *atomic.Bool
	began    time.Time
	module   string      // empty until a route is found
	route    string      // its id
	status   int         // 0 until the answer begins
	patience *time.Timer // runs until the answer begins; nil if nobody waits
	abandon  func()      // ends the exchange, if it is endless; nil until there is one

	decided   *table // by which the request was decided on last, and how often
	decisions int
	forwarded bool // the request's headers say by whom
	sent      bool // to a module
}

// WriteHeader implements http.ResponseWriter. Only the first call counts: gin ends every request with one.
func (a *answer) WriteHeader(status int) {
	if a.status != 0 {
		return
	}
	a.begin(status)
	if a.closing.Load() {
		a.Header().Set("Connection", "close")
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.ResponseWriter.Write(p)
}

// Hijack implements http.Hijacker, for an upgrade.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	a.begin(http.StatusSwitchingProtocols)
	if http1, ok := conn.(interface{ handOver(func()) }); ok {
		http1.handOver(a.abandon)
	}
	return conn, buffered, nil
}

func (a *answer) begin(status int) {
	a.status = status
	a.stopPatience()
}

func (a *answer) stopPatience() {
	if a.patience != nil {
		a.patience.Stop()
	}
}

// Unwrap serves http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

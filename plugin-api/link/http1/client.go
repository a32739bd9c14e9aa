// Package http1 carries HTTP exchanges between the core and a module as HTTP/1.1 on the module's unix socket, what every
// language already speaks. It holds both halves: Client, for the core, relays a request that a client sent to the core;
// Server, for modules written in Go, hands it to an http.Handler together with the link.Call that the core decided on.
//
// It must not decide anything about a request: who may call, which route it is and how large it may be are settled before
// Exchange. It trusts neither side: what a client sends cannot look as if the core had said it, and an answer of a module
// reaches the client only if it is valid HTTP. net/http's Transport and httputil.ReverseProxy are not used: they cost
// twice the CPU, most of it in handing every request from one goroutine to another.
package http1

import (
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

const (
	// defaultMaxIdle is ClientConfig.MaxIdle's default.
	defaultMaxIdle = 64
	// maxHead bounds the head of an answer, the informational ones before it and its trailers, in bytes.
	maxHead = 64 << 10
)

// ClientConfig configures a Client. Socket and Secret are required.
type ClientConfig struct {
	// Socket is the path of the module's data socket.
	Socket string
	// Secret proves to the module that it is the core who speaks. It is sent hex-encoded with every request.
	Secret []byte
	// CheckPeer, if set, is asked about every new connection before the first byte is sent; an error refuses it.
	CheckPeer func(*net.UnixConn) error
	// MaxIdle bounds the idle connections that are kept: 0 means 64, a negative number none. Busy ones are not bounded.
	MaxIdle int
	// IdleTimeout, if positive, cuts a client that for so long sends nothing of the body that is waited for, or takes
	// nothing of the answer. Each read and write moves the deadline, so a slow transfer that moves lives. 0 leaves the
	// deadlines of the client's connection alone.
	IdleTimeout time.Duration
	// OnAbort, if set, is called with the reason just before Exchange panics with http.ErrAbortHandler.
	OnAbort func(r *http.Request, err error)
}

// Client is the core's half: it sends requests to one instance of a module. It is safe for concurrent use.
type Client struct {
	config ClientConfig
	pool   pool
	// secret is the header line that every request carries.
	secret string
}

// NewClient returns a Client. It connects when it is first needed.
func NewClient(config ClientConfig) *Client {
	if config.MaxIdle == 0 {
		config.MaxIdle = defaultMaxIdle
	}
	return &Client{
		config: config,
		pool:   pool{dialer: hop.Dialer{Socket: config.Socket, CheckPeer: config.CheckPeer}, maxIdle: config.MaxIdle},
		secret: headerSecret + ": " + hex.EncodeToString(config.Secret) + "\r\n",
	}
}

// Exchange relays r to the module as call says, and the module's answer to w. It must be called from the goroutine that
// serves r, with the server's own w or a wrapper with an Unwrap method (gin's has one).
//
// It returns nil when the answer has been written. Any error is an *link.ExchangeError: nothing has been written, the caller
// answers. If the module breaks off after the head of its answer was written, or the client does not take the answer,
// Exchange panics with http.ErrAbortHandler so that the client sees a cut connection, never a truncated body that looks
// complete. When r's context ends, the module's connection is closed at once; that cancels the context of its handler.
//
// Headers already in w.Header() are the core's and win over the module's; Vary and Set-Cookie hold those of both. Upgrade
// headers are dropped; see Upgrade. A limit on r.Body should be an http.MaxBytesReader made with a nil ResponseWriter:
// large bodies are read in a second goroutine, which must not touch w.
func (c *Client) Exchange(w http.ResponseWriter, r *http.Request, call *link.Call) error {
	return c.exchange(w, r, call, "")
}

// Upgrade is Exchange for a request that asks to switch protocols, such as a WebSocket's. If the module agrees (101), the
// client's connection is hijacked, and bytes are copied both ways until both ends have ended or r's context does; then
// Upgrade returns nil. If r's context holds a socket (link.WithSocket) and the module is a Server, the module gets that instead,
// and Upgrade returns when the module or r's context has ended. Any other answer is relayed as Exchange does.
func (c *Client) Upgrade(w http.ResponseWriter, r *http.Request, call *link.Call) error {
	protocol := hop.UpgradeOf(r.Header)
	if protocol == "" {
		return &link.ExchangeError{Err: errors.New("the request asks for no upgrade: send it through Exchange")}
	}
	return c.exchange(w, r, call, protocol)
}

// Close closes idle connections and makes later exchanges fail with link.ErrClosed. Those under way end with the module's
// process, or on their own.
func (c *Client) Close() { c.pool.close() }

package postgres_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// front stands before a PostgreSQL server: it ends TLS, and can cut connections.
type front struct {
	source string // the URL of the database, through the front

	t        *testing.T
	server   string // its address
	tls      *tls.Config
	listener net.Listener
	wait     sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

// listen makes a front of the server in source, until the end of the test. Without a config it refuses TLS.
func listen(t *testing.T, source string, config *tls.Config) *front {
	t.Helper()
	u, err := url.Parse(source)
	require.NoError(t, err)
	f := &front{t: t, server: u.Host, tls: config}
	f.listener, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f.source = changed(t, source, func(u *url.URL) { u.Host = f.listener.Addr().String() })
	f.wait.Go(f.accept)
	t.Cleanup(func() {
		_ = f.listener.Close()
		f.cut()
		f.wait.Wait()
	})
	return f
}

func (f *front) accept() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.wait.Go(func() { f.serve(conn) })
	}
}

// serve passes everything on between the client and the server. Errors end the connection, which the client sees.
func (f *front) serve(client net.Conn) {
	defer client.Close() //nolint:errcheck // see above
	server, err := net.Dial("tcp", f.server)
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // see above
	f.mu.Lock()
	f.conns = append(f.conns, client, server)
	f.mu.Unlock()
	if f.tls != nil {
		request := make([]byte, 8) // SSLRequest (PostgreSQL protocol, "SSL Session Encryption")
		if _, err := io.ReadFull(client, request); err != nil || string(request[4:]) != "\x04\xd2\x16\x2f" {
			return
		}
		if _, err := client.Write([]byte("S")); err != nil {
			return
		}
		client = tls.Server(client, f.tls)
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].Close()
		})
	}
	both.Wait()
}

// cut ends all connections of now.
func (f *front) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range f.conns {
		_ = conn.Close()
	}
	f.conns = nil
}

// silent returns the address of a server that accepts and never answers.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	return listener.Addr().String()
}

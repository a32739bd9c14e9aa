package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/rpc"
	"time"

	"github.com/hashicorp/go-plugin"
)

// Answerer is the plugin's half.
type Answerer struct {
	handler http.Handler
	broker  *plugin.MuxBroker
}

var errGaveUp = errors.New("the handler gave up")

// ServeHTTP is called by the front.
func (a *Answerer) ServeHTTP(req Request, _ *struct{}) (err error) {
	body, err := a.broker.Dial(req.Body)
	if err != nil {
		return fmt.Errorf("dial the body: %w", err)
	}
	defer func() { _ = body.Close() }()
	conn, err := a.broker.Dial(req.Answer)
	if err != nil {
		return fmt.Errorf("dial the answer: %w", err)
	}
	w := &remoteWriter{client: rpc.NewClient(conn), header: http.Header{}}
	defer func() { _ = w.client.Close() }()
	defer func() {
		if recover() != nil { // a handler cannot but panic to give up; here it would end the process
			err = errGaveUp
		}
	}()
	a.handler.ServeHTTP(w, &http.Request{
		Method: req.Method, Host: req.Host, RemoteAddr: req.RemoteAddr, RequestURI: req.RequestURI, URL: req.URL,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: req.Header, ContentLength: req.Length, Body: body,
	})
	return w.err
}

// remoteWriter is an http.ResponseWriter in another process.
type remoteWriter struct {
	client *rpc.Client
	header http.Header
	begun  bool
	err    error
}

func (w *remoteWriter) call(method string, args, reply any) error {
	err := w.client.Call("Plugin."+method, args, reply)
	if err != nil && w.err == nil {
		w.err = err
	}
	return err
}

// Header implements http.ResponseWriter.
func (w *remoteWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *remoteWriter) WriteHeader(status int) {
	if !w.begin() {
		return
	}
	_ = w.call("WriteHeader", status, &struct{}{}) // kept in w.err
}

// Write implements http.ResponseWriter.
func (w *remoteWriter) Write(p []byte) (int, error) {
	if !w.begun && !w.begin() {
		return 0, w.err
	}
	if err := w.call("Write", p, &struct{}{}); err != nil {
		return 0, err
	}
	return len(p), nil
}

// begin sends the header, once.
func (w *remoteWriter) begin() bool {
	if w.begun {
		return false
	}
	w.begun = true
	return w.call("SetHeader", w.header, &struct{}{}) == nil
}

// Hijack implements http.Hijacker.
func (w *remoteWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := w.call("Hijack", struct{}{}, &struct{}{}); err != nil {
		return nil, nil, err
	}
	conn := &remoteConn{w.client}
	return conn, bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn)), nil
}

// remoteConn is a hijacked connection in another process. Its deadlines do nothing: nobody here sets any but none.
type remoteConn struct{ client *rpc.Client }

// Read implements net.Conn.
func (c *remoteConn) Read(p []byte) (int, error) {
	var got []byte
	err := c.client.Call("Plugin.ConnRead", len(p), &got)
	return copy(p, got), err
}

// Write implements net.Conn.
func (c *remoteConn) Write(p []byte) (n int, err error) {
	err = c.client.Call("Plugin.ConnWrite", p, &n)
	return n, err
}

// Close implements net.Conn.
func (c *remoteConn) Close() error { return c.client.Call("Plugin.ConnClose", struct{}{}, &struct{}{}) }

// LocalAddr implements net.Conn.
func (c *remoteConn) LocalAddr() net.Addr { return &net.UnixAddr{Name: "front", Net: "unix"} }

// RemoteAddr implements net.Conn.
func (c *remoteConn) RemoteAddr() net.Addr { return &net.UnixAddr{Name: "client", Net: "unix"} }

// SetDeadline implements net.Conn.
func (c *remoteConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (c *remoteConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (c *remoteConn) SetWriteDeadline(time.Time) error { return nil }

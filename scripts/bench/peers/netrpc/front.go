package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/rpc"
	"net/url"
	"sync"

	"github.com/hashicorp/go-plugin"
)

// Request is what of a request travels in the call itself.
type Request struct {
	Method, Host, RemoteAddr, RequestURI string
	URL                                  *url.URL
	Header                               http.Header
	Length                               int64
	// Body and Answer are streams of the broker.
	Body, Answer uint32
}

// caller is the front's half.
type caller struct {
	client *rpc.Client
	broker *plugin.MuxBroker
}

// serve returns when the call has ended, and nobody touches w and r any more.
func (c *caller) serve(w http.ResponseWriter, r *http.Request) error {
	req := Request{
		Method: r.Method, Host: r.Host, RemoteAddr: r.RemoteAddr, RequestURI: r.RequestURI, URL: r.URL, Header: r.Header,
		Length: r.ContentLength, Body: c.broker.NextId(), Answer: c.broker.NextId(),
	}
	var streams sync.WaitGroup
	defer streams.Wait()
	streams.Go(func() { c.sendBody(req.Body, r.Body) })
	streams.Go(func() { c.takeAnswer(req.Answer, w) })
	if err := c.client.Call("Plugin.ServeHTTP", req, &struct{}{}); err != nil {
		return fmt.Errorf("call the plugin: %w", err)
	}
	return nil
}

// sendBody copies the body into its stream. The plugin always dials it, and hangs up when it has had enough.
func (c *caller) sendBody(id uint32, body io.Reader) {
	conn, err := c.broker.Accept(id)
	if err != nil {
		return // the plugin has gone, which the call tells
	}
	_, _ = io.Copy(conn, body)
	_ = conn.Close()
}

func (c *caller) takeAnswer(id uint32, w http.ResponseWriter) {
	conn, err := c.broker.Accept(id)
	if err != nil {
		return // as above
	}
	writer := &Writer{w: w}
	server := rpc.NewServer()
	if err := server.RegisterName("Plugin", writer); err != nil {
		_ = conn.Close()
		return
	}
	server.ServeConn(conn)
	if writer.conn != nil { // the plugin has hung up, perhaps without a word
		_ = writer.conn.Close()
	}
}

// Writer is the answer as the plugin sees it: every method is a call. Mattermost's has the same ones.
type Writer struct {
	w http.ResponseWriter

	conn   net.Conn      // once hijacked
	reader *bufio.Reader // of conn: the client may have sent something since the upgrade was answered
}

// SetHeader replaces the header.
func (w *Writer) SetHeader(header http.Header, _ *struct{}) error {
	to := w.w.Header()
	clear(to)
	for key, values := range header {
		to[key] = values
	}
	return nil
}

// WriteHeader sends the status. gin holds it back until the first write, which comes too late for an upgrade.
func (w *Writer) WriteHeader(status int, _ *struct{}) error {
	w.w.WriteHeader(status)
	if now, ok := w.w.(interface{ WriteHeaderNow() }); ok {
		now.WriteHeaderNow()
	}
	return nil
}

// Write sends a part of the body.
func (w *Writer) Write(p []byte, _ *struct{}) error {
	_, err := w.w.Write(p)
	return err
}

// Hijack takes the connection over.
func (w *Writer) Hijack(struct{}, *struct{}) error {
	conn, buffers, err := http.NewResponseController(w.w).Hijack()
	if err != nil {
		return err
	}
	w.conn, w.reader = conn, buffers.Reader
	return nil
}

var errNotHijacked = errors.New("the connection was not hijacked")

// ConnRead reads at most size bytes.
func (w *Writer) ConnRead(size int, p *[]byte) error {
	if w.conn == nil {
		return errNotHijacked
	}
	buffer := make([]byte, size)
	n, err := w.reader.Read(buffer)
	*p = buffer[:n]
	return err
}

// ConnWrite writes p.
func (w *Writer) ConnWrite(p []byte, n *int) (err error) {
	if w.conn == nil {
		return errNotHijacked
	}
	*n, err = w.conn.Write(p)
	return err
}

// ConnClose closes the connection.
func (w *Writer) ConnClose(struct{}, *struct{}) error {
	if w.conn == nil {
		return errNotHijacked
	}
	return w.conn.Close()
}

package mux

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
)

// incoming is one exchange at the module. It is not pooled: what a handler was given it may keep.
type incoming struct {
	conn *serverConn
	id   uint32
	ctx  callContext
	url  url.URL
	body inlineBody
	w    response
	r    *http.Request

	credit credit

	cancelled bool // the core has lost interest; guarded by conn.mu
}

// inlineBody is a request's body that came with its head.
type inlineBody struct{ bytes.Reader }

// Close implements io.Closer.
func (*inlineBody) Close() error { return nil }

func newIncoming(conn *serverConn, id uint32, p *parsedRequest) (*incoming, error) {
	u, err := p.url()
	if err != nil {
		return nil, err
	}
	x := &incoming{conn: conn, id: id, url: u, credit: newCredit()}
	p.call.Path = u.Path
	x.ctx.init(p.call)
	r := http.Request{
		Method: p.method, URL: &x.url, RequestURI: p.target, Host: p.host, Header: p.header, RemoteAddr: "@",
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody, ContentLength: int64(len(p.body)),
	}
	switch {
	case len(p.body) > 0:
		x.body.Reset(bytes.Clone(p.body))
		r.Body = &x.body
		r.Header["Content-Length"] = []string{strconv.Itoa(len(p.body))} // some read it there
	case p.method == http.MethodPost || p.method == http.MethodPut || p.method == http.MethodPatch:
		r.Header["Content-Length"] = []string{"0"}
	}
	x.r = r.WithContext(&x.ctx)
	for _, param := range p.call.Params {
		x.r.SetPathValue(param.Name, param.Value)
	}
	x.w.init(x)
	return x, nil
}

// serve lets the handler answer.
func (x *incoming) serve() {
	defer x.conn.leave(x)
	defer x.ctx.cancel(context.Canceled) // as net/http does when a handler returns
	answered := false
	defer func() { // also when the handler has called runtime.Goexit
		if !answered {
			x.w.abort()
		}
	}()
	answered = x.handle() && x.w.finish() == nil
}

// handle reports false if the handler gave up.
func (x *incoming) handle() (ok bool) {
	defer func() {
		cause := recover()
		if err, isError := cause.(error); cause != nil && (!isError || !errors.Is(err, http.ErrAbortHandler)) {
			x.conn.server.log.Error("a handler panicked", "route", x.ctx.call.Route, "panic", cause, "stack", string(debug.Stack()))
		}
		ok = cause == nil
	}()
	x.conn.server.handler.ServeHTTP(&x.w, x.r)
	return true
}

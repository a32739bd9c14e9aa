package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/platformd/platformd/core/internal/jsonbody"
	"github.com/platformd/platformd/plugin-api/problem"
)

// ErrNotRunning says that nobody listens on the control socket.
var ErrNotRunning = errors.New("no platformd listens on the control socket")

// ErrRefused says that the control socket belongs to another user.
var ErrRefused = errors.New("the control socket belongs to another user")

// ErrSilent says that the daemon took a request and did not answer in time: it hangs, or its process is stopped.
var ErrSilent = errors.New("platformd does not answer on its control socket")

// answerTimeout is longer than what the daemon allows itself, so that its own error arrives.
const answerTimeout = requestTimeout + 5*time.Second

// Client talks to a running daemon. An error that the daemon answers with is a *problem.Problem; one in reaching it is
// ErrNotRunning, ErrRefused or ErrSilent, if it is of a kind that a person can do something about. Every call returns within
// some seconds, and with its context. A Client is safe for concurrent use and holds no connection between calls.
type Client struct {
	path string
	http *http.Client
}

// Dial returns a client for the control socket at path. It does not connect yet.
func Dial(path string) *Client {
	c := &Client{path: path}
	c.http = &http.Client{Transport: c.transport(answerTimeout)}
	return c
}

// transport waits so long for an answer to begin; 0 is for ever.
func (c *Client) transport(patience time.Duration) *http.Transport {
	return &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", c.path)
		},
		ResponseHeaderTimeout: patience,
	}
}

// patient is a client that waits as long as it takes.
func (c *Client) patient() *Client {
	return &Client{path: c.path, http: &http.Client{Transport: c.transport(0)}}
}

// Info returns what the daemon says about itself.
func (c *Client) Info(ctx context.Context) (Info, error) {
	return call[Info](ctx, c, request{method: http.MethodGet, path: "/v1/info"})
}

// Modules returns every module, sorted by name.
func (c *Client) Modules(ctx context.Context) ([]Module, error) {
	modules, err := call[list[Module]](ctx, c, request{method: http.MethodGet, path: "/v1/modules"})
	return modules.Items, err
}

// Module returns one module; for an unknown one the error is a problem with the status 404 that names what is near.
func (c *Client) Module(ctx context.Context, name string) (Module, error) {
	return call[Module](ctx, c, request{method: http.MethodGet, path: "/v1/modules/" + url.PathEscape(name)})
}

// Crashes returns a module's last crashes, the newest first.
func (c *Client) Crashes(ctx context.Context, name string) ([]Crash, error) {
	path := "/v1/modules/" + url.PathEscape(name) + "/crashes"
	crashes, err := call[list[Crash]](ctx, c, request{method: http.MethodGet, path: path})
	return crashes.Items, err
}

// Order has something done with a module, and returns what that changed when it is done, at the latest when ctx ends: unlike the
// other calls it takes as long as the module.
func (c *Client) Order(ctx context.Context, name string, order Order) ([]ModuleChange, error) {
	path := "/v1/modules/" + url.PathEscape(name) + "/" + string(order)
	done, err := ask[list[ModuleChange]](ctx, c.patient(), request{method: http.MethodPost, path: path})
	return done.Items, err
}

// Reload has everything taken over that has changed in the modules' folder. It takes as long as the modules, as Order does.
func (c *Client) Reload(ctx context.Context) ([]ModuleChange, error) {
	done, err := ask[list[ModuleChange]](ctx, c.patient(), request{method: http.MethodPost, path: "/v1/reload"})
	return done.Items, err
}

// Stop asks the daemon to stop, and returns when it has begun to.
func (c *Client) Stop(ctx context.Context) (Stopping, error) {
	return call[Stopping](ctx, c, request{method: http.MethodPost, path: "/v1/stop"})
}

type request struct {
	method, path string
	body         any       // sent as JSON
	stream       io.Reader // sent as it is, if there is no body
	header       http.Header
}

// call sends a request and decodes its answer.
func call[T any](ctx context.Context, c *Client, req request) (answer T, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return ask[T](ctx, c, req)
}

// ask is call without a limit of time.
func ask[T any](ctx context.Context, c *Client, req request) (answer T, err error) {
	resp, err := c.send(ctx, req)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return answer, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return answer, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return answer, nil
}

// send returns an answer that is not an error; the caller closes its body.
func (c *Client) send(ctx context.Context, req request) (*http.Response, error) {
	body := req.stream
	if req.body != nil {
		encoded, err := json.Marshal(req.body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, req.method, "http://platformd"+req.path, body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	maps.Copy(r.Header, req.header)
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, unreachable(err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		defer resp.Body.Close()
		return nil, decodeProblem(resp)
	}
	return resp, nil
}

func unreachable(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err // it names an address that nobody knows
	}
	var wait net.Error
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return ErrNotRunning
	case errors.Is(err, fs.ErrPermission):
		return ErrRefused
	case errors.As(err, &wait) && wait.Timeout():
		return ErrSilent
	}
	return fmt.Errorf("ask the daemon: %w", err)
}

func decodeProblem(resp *http.Response) error {
	p := &problem.Problem{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, jsonbody.Max)).Decode(p); err != nil || p.Status == 0 {
		return fmt.Errorf("the daemon answered %s", resp.Status)
	}
	return p
}

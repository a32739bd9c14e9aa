package plugintest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/platformd/platformd/plugin-api/problem"
)

// patience is how long a test waits for an answer or an event before it fails.
const patience = 30 * time.Second

// Client sends requests to the module on behalf of one principal. Paths are those of module.yaml, such as "/posts"; a full
// one, such as a Location header's, will do as well. A request that gets no answer fails the test. Its methods are safe for
// concurrent use.
type Client struct {
	t      testing.TB
	http   *http.Client
	server string // scheme and host
	prefix string // of the module's paths
	token  string // "" = no credentials
}

// newClient returns a client for whoever holds token.
func (s *Server) newClient(token string) *Client {
	client := *s.front.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{t: s.t, http: &client, server: s.front.URL, prefix: s.gateway.prefix, token: token}
}

// Response is an answer that has been read whole.
type Response struct {
	Status int
	Header http.Header
	Body   []byte

	t testing.TB
}

// Get sends a GET request.
func (c *Client) Get(path string) *Response { c.t.Helper(); return c.Do(http.MethodGet, path, nil) }

// Post sends a POST request; see Do for the body.
func (c *Client) Post(path string, body any) *Response {
	c.t.Helper()
	return c.Do(http.MethodPost, path, body)
}

// Put sends a PUT request; see Do for the body.
func (c *Client) Put(path string, body any) *Response {
	c.t.Helper()
	return c.Do(http.MethodPut, path, body)
}

// Patch sends a PATCH request; see Do for the body.
func (c *Client) Patch(path string, body any) *Response {
	c.t.Helper()
	return c.Do(http.MethodPatch, path, body)
}

// Delete sends a DELETE request.
func (c *Client) Delete(path string) *Response {
	c.t.Helper()
	return c.Do(http.MethodDelete, path, nil)
}

// Do sends a request and reads the whole answer. The body is sent as it is if it is a string, bytes or an io.Reader, else
// as JSON; nil is none.
func (c *Client) Do(method, path string, body any) *Response {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	answer, err := c.send(ctx, method, path, body)
	if err != nil {
		c.t.Errorf("%s %s: %v", method, path, err)
		return &Response{t: c.t}
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		c.t.Errorf("%s %s: read the answer: %v", method, path, err)
	}
	return &Response{Status: answer.StatusCode, Header: answer.Header, Body: content, t: c.t}
}

func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	content, err := openBody(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, c.url(path), content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	return c.http.Do(request)
}

func (c *Client) url(path string) string {
	switch {
	case strings.HasPrefix(path, c.prefix+"/"):
		return c.server + path
	case path == "/": // module.yaml's name for the prefix itself
		return c.server + c.prefix
	}
	return c.server + c.prefix + path
}

func openBody(body any) (io.Reader, error) {
	switch body := body.(type) {
	case nil:
		return nil, nil
	case string:
		return strings.NewReader(body), nil
	case []byte:
		return bytes.NewReader(body), nil
	case io.Reader:
		return body, nil
	}
	encoded, err := json.Marshal(body)
	return bytes.NewReader(encoded), err
}

// JSON decodes the body; it fails the test if that is not JSON or does not fit.
func (r *Response) JSON(into any) {
	r.t.Helper()
	if err := json.Unmarshal(r.Body, into); err != nil {
		r.t.Errorf("status %d: the body does not fit: %v\n%s", r.Status, err, r.Body)
	}
}

// Problem decodes an error answer; it fails the test if the answer is not one.
func (r *Response) Problem() problem.Problem {
	r.t.Helper()
	if kind := r.Header.Get("Content-Type"); kind != problem.ContentType {
		r.t.Errorf("status %d: the answer is %q, not a problem:\n%s", r.Status, kind, r.Body)
	}
	var p problem.Problem
	r.JSON(&p)
	return p
}

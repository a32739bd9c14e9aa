package plugintest

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// maxLine is the longest line of a stream, in bytes.
const maxLine = 16 << 20

// Event is one server-sent event, or a comment between events.
type Event struct {
	ID, Name, Data string
	// Comment is set on a block of the stream that holds nothing else.
	Comment string
}

// Events is an open stream of server-sent events, for one goroutine.
type Events struct {
	t      testing.TB
	cancel context.CancelFunc
	answer *http.Response
	lines  *bufio.Scanner
}

// Follow opens a stream of server-sent events, which ends with the test at the latest. It fails the test at once if the
// answer is not one.
func (c *Client) Follow(path string) *Events {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	answer, err := c.send(ctx, http.MethodGet, path, nil) //nolint:bodyclose // Close does, at the end of the test
	if err != nil {
		cancel()
		c.t.Fatalf("GET %s: %v", path, err)
	}
	events := &Events{t: c.t, cancel: cancel, answer: answer, lines: bufio.NewScanner(answer.Body)}
	events.lines.Buffer(nil, maxLine)
	c.t.Cleanup(events.Close)
	if kind := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK || kind != "text/event-stream" {
		c.t.Fatalf("GET %s: status %d, content type %q, expected a stream of events", path, answer.StatusCode, kind)
	}
	return events
}

// Next waits for the next event or comment. It returns false when the stream has ended; one that neither brings anything
// nor ends fails the test.
func (e *Events) Next() (event Event, ok bool) {
	e.t.Helper()
	timeout := time.AfterFunc(patience, e.cancel)
	for e.lines.Scan() {
		if e.lines.Text() == "" {
			timeout.Stop()
			return event, true
		}
		event.add(e.lines.Text())
	}
	if !timeout.Stop() {
		e.t.Errorf("the stream brought nothing for %s", patience)
	}
	return Event{}, false
}

// add takes up one line of the stream.
func (e *Event) add(line string) {
	field, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch field {
	case "":
		e.Comment += value
	case "id":
		e.ID = value
	case "event":
		e.Name = value
	case "data":
		if e.Data != "" {
			e.Data += "\n"
		}
		e.Data += value
	}
}

// Close hangs up.
func (e *Events) Close() {
	e.cancel()
	_ = e.answer.Body.Close() // only read from
}

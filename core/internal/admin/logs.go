package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/platformd/platformd/core/internal/logs"
)

// LogQuery says which log records are wanted; the zero value asks for all that are kept.
type LogQuery struct {
	// Module is a module's name, or logs.Core. Parameter "module".
	Module string
	// Level is the least severe level: trace, debug, info, warn or error. Parameter "level".
	Level string
	// Since leaves out what is older. Parameter "since", as RFC 3339 has it.
	Since time.Time
	// Lines is how many of the newest records are wanted at most; 0 = all. Parameter "n".
	Lines int
	// Follow goes on with what is logged from now on, until one of both sides ends it. Parameter "follow".
	Follow bool
}

func (q LogQuery) encode() string {
	values := url.Values{}
	set := func(name, value string, wanted bool) {
		if wanted {
			values.Set(name, value)
		}
	}
	set("module", q.Module, q.Module != "")
	set("level", q.Level, q.Level != "")
	set("since", q.Since.Format(time.RFC3339Nano), !q.Since.IsZero())
	set("n", strconv.Itoa(q.Lines), q.Lines > 0)
	set("follow", "true", q.Follow)
	return values.Encode()
}

// parseLogQuery is strict: an unknown or repeated parameter is an error.
func parseLogQuery(raw string) (q LogQuery, err error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, err
	}
	for name, all := range values {
		if len(all) > 1 {
			return q, fmt.Errorf("the parameter %q is there twice", name)
		}
		if err := q.set(name, all[0]); err != nil {
			return q, fmt.Errorf("the parameter %q: %w", name, err)
		}
	}
	return q, nil
}

func (q *LogQuery) set(name, value string) (err error) {
	switch name {
	case "module":
		q.Module = value
	case "level":
		q.Level = value
		if hclog.LevelFromString(value) == hclog.NoLevel {
			return errors.New("use trace, debug, info, warn or error")
		}
	case "since":
		q.Since, err = time.Parse(time.RFC3339, value)
	case "n":
		var n uint64
		n, err = strconv.ParseUint(value, 10, 31)
		q.Lines = int(n)
	case "follow":
		q.Follow, err = strconv.ParseBool(value)
	default:
		return errors.New("there is no such parameter; use module, level, since, n and follow")
	}
	return err
}

func (a *api) logs(w http.ResponseWriter, r *http.Request) error {
	q, err := parseLogQuery(r.URL.RawQuery)
	if err != nil {
		return badRequest(err)
	}
	if err := a.checkLogged(q.Module); err != nil {
		return err
	}
	filter := logs.Filter{Module: q.Module, Level: hclog.LevelFromString(q.Level), Since: q.Since, N: q.Lines}
	out := newStream(w)
	if !q.Follow {
		send(out, a.deps.Logs.Tail(filter)...)
		return nil
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	for entry := range a.deps.Logs.Follow(ctx, filter) {
		if !send(out, entry) {
			cancel() // and go on until the channel is closed
		}
	}
	return nil
}

// checkLogged refuses the name of a module that is not there, whose log would stay empty for ever.
func (a *api) checkLogged(name string) error {
	modules := a.deps.Modules()
	if name == "" || name == logs.Core || slices.ContainsFunc(modules, func(m Module) bool { return m.Name == name }) {
		return nil
	}
	return unknownModule(name, append(modules, Module{Name: logs.Core}))
}

// stream sends JSON values, one a line, each within its own time.
type stream struct {
	control *http.ResponseController
	json    *json.Encoder
}

// newStream sends the head at once: a follower may wait long for the first value.
func newStream(w http.ResponseWriter) *stream {
	s := &stream{control: http.NewResponseController(w), json: json.NewEncoder(w)}
	w.Header().Set("Content-Type", "application/x-ndjson")
	send[any](s) // should it fail, the next one does too
	return s
}

// send reports whether somebody still listens.
func send[T any](s *stream, values ...T) bool {
	s.moveDeadline()
	for i := range values {
		s.moveDeadline()
		if s.json.Encode(&values[i]) != nil {
			return false
		}
	}
	return s.control.Flush() == nil
}

func (s *stream) moveDeadline() {
	_ = s.control.SetWriteDeadline(time.Now().Add(requestTimeout)) // it fails if the connection is closed, as a write does
}

// Logs calls each with every record that q selects, in order, and returns after the last one. When following, that is when
// ctx ends, the daemon stops (nil), or each returns an error.
func (c *Client) Logs(ctx context.Context, q LogQuery, each func(logs.Entry) error) error {
	resp, err := c.send(ctx, request{method: http.MethodGet, path: "/v1/logs?" + q.encode()})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return eachLine(resp.Body, each)
}

// eachLine calls each with every value of a stream, in order, until the stream ends or each returns an error.
func eachLine[T any](from io.Reader, each func(T) error) error {
	values := json.NewDecoder(from)
	for {
		var value T
		err := values.Decode(&value)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if err := each(value); err != nil {
			return err
		}
	}
}

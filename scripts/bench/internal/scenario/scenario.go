// Package scenario lists what the benchmark asks of every contestant.
//
// It must not know contestants or load generators: it says what is asked, not by whom or of whom.
package scenario

import (
	"github.com/platformd/platformd/scripts/bench/internal/callload"
	"github.com/platformd/platformd/scripts/bench/internal/eventload"
	"github.com/platformd/platformd/scripts/bench/internal/handler"
	"github.com/platformd/platformd/scripts/bench/internal/posts"
)

// Subject is what is asked of a contestant, which is made for one of them.
type Subject int

// Subjects.
const (
	Carriage Subject = iota // handlers that do next to nothing: what is left is how requests get to them
	Data                    // the sample module blog with its database
	Access                  // a route that asks who calls, and its twin that does not
	Events                  // events that are published and handled, in one process
	Calls                   // calls of a service in another process
)

// Kind is how the clients of a scenario talk.
type Kind int

// Kinds of scenarios.
const (
	HTTP      Kind = iota // requests with bodies of known length, sent by wrk
	SSE                   // streams of events, read to their end
	WebSocket             // messages that come back
	Publish               // events, one at a time from each caller, until they are kept
	Deliver               // events, until they are handled
	Call                  // calls with one answer, one at a time from each caller
)

// Scenario is one way to load a contestant. One exchange of it counts as one request: a request with its answer, a whole
// stream, a message and its echo, an event, a call.
type Scenario struct {
	ID          string
	Title       string
	Kind        Kind
	Method      string
	Path        string
	Connections int // or callers that publish or call
	Subject     Subject
	// The request has a body of BodySize bytes that say nothing, or Body, which is JSON.
	BodySize int
	Body     string
	// Writes tells that requests leave something behind: what does not comes first, in all rounds, so that it finds everything as it
	// was in the beginning.
	Writes bool
}

// Streamed is how many server-sent events one request brings; 0 unless it is a stream.
func (s *Scenario) Streamed() int {
	if s.Kind == SSE {
		return handler.Events
	}
	return 0
}

// All lists the scenarios in the order of the report.
func All() []Scenario {
	get := func(id, title string, connections int) Scenario {
		return Scenario{ID: id, Title: title, Method: "GET", Path: handler.Prefix + "/get", Connections: connections}
	}
	events := func(id, title string, kind Kind, callers int) Scenario {
		return Scenario{ID: id, Title: title, Kind: kind, Method: "POST", Path: eventload.Path, Connections: callers, Subject: Events}
	}
	calls := func(id, title string, callers int) Scenario {
		return Scenario{ID: id, Title: title, Kind: Call, Method: "POST", Path: callload.Path, Connections: callers, Subject: Calls}
	}
	return []Scenario{
		get("get1", "GET 200 B, 1 connection", 1),
		get("get16", "GET 200 B, 16 connections", 16),
		get("get64", "GET 200 B, 64 connections", 64),
		get("get256", "GET 200 B, 256 connections", 256),
		{
			ID: "post", Title: "POST 1 KiB, 64 connections",
			Method: "POST", Path: handler.Prefix + "/post", Connections: 64, BodySize: handler.PostSize,
		},
		{ID: "mib", Title: "GET 1 MiB, 8 connections", Method: "GET", Path: handler.Prefix + "/mib", Connections: 8},
		{
			ID: "up", Title: "PUT 10 MiB, 4 connections",
			Method: "PUT", Path: handler.Prefix + "/up", Connections: 4, BodySize: handler.UploadSize,
		},
		{ID: "sse", Title: "SSE 1000 events, 4 connections", Kind: SSE, Method: "GET", Path: handler.Prefix + "/sse", Connections: 4},
		{
			ID: "ws", Title: "WebSocket echo 64 B, 64 connections", Kind: WebSocket,
			Method: "GET", Path: handler.Prefix + "/ws", Connections: 64,
		},
		{
			ID: "access", Title: "GET 200 B, a permission asked for or not, 64 connections", Subject: Access,
			Method: "GET", Path: handler.Prefix + "/get", Connections: 64,
		},
		{
			ID: "list", Title: "blog list: 20 of 1,000 posts, 16 connections", Subject: Data,
			Method: "GET", Path: posts.ListPath(), Connections: 16,
		},
		{
			ID: "create", Title: "blog create: a post of 500 B, 16 connections", Subject: Data, Writes: true,
			Method: "POST", Path: posts.Path, Connections: 16, Body: posts.Draft(posts.Count),
		},
		events("publish1", "publish an event of 512 B, 1 caller", Publish, 1),
		events("publish256", "publish an event of 512 B, 256 callers", Publish, 256),
		events("deliver1", "publish an event of 512 B and have it handled, 1 caller", Deliver, 1),
		events("deliver256", "publish an event of 512 B and have it handled, 256 callers", Deliver, 256),
		calls("call1", "call another process's service, 200 B and 200 B back, 1 caller", 1),
		calls("call16", "call another process's service, 200 B and 200 B back, 16 callers", 16),
		calls("call64", "call another process's service, 200 B and 200 B back, 64 callers", 64),
	}
}

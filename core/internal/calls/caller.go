package calls

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/passthrough"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/wire"
	"github.com/platformd/platformd/plugin-api/wire/guard"
)

// ticketTimeout bounds reading a ticket: one that names a key which is not known has the keys read again.
const ticketTimeout = time.Second

// caller is a process of a module that makes calls. It implements passthrough.Handler.
type caller struct {
	calls    *Calls
	manifest *manifest.Manifest
}

var _ passthrough.Handler = (*caller)(nil)

// refusal is why a call is not passed on.
type refusal struct {
	code    codes.Code
	message string
	denied  bool // the caller has overstepped: it is recorded
}

func denied(code codes.Code, format string, args ...any) *refusal {
	return &refusal{code: code, message: fmt.Sprintf(format, args...), denied: true}
}

// Begin implements passthrough.Handler.
func (c *caller) Begin(call *passthrough.Call) passthrough.Next {
	e := &exchange{caller: c, call: call}
	call.Own = []hpack.HeaderField{{Name: wire.MetadataCore, Value: "1"}}
	refused := e.read()
	if refused == nil {
		refused = e.judge()
	}
	if refused != nil {
		c.refused(e, refused)
		return passthrough.Next{Code: refused.code, Message: refused.message}
	}
	e.pair = c.calls.pair(c.manifest.Name, e.module)
	if why, ok := e.pair.enter(); !ok {
		return passthrough.Next{Code: codes.Unavailable, Message: why}
	}
	call.State = e
	return e.begin()
}

// Broken implements passthrough.Handler.
func (c *caller) Broken(call *passthrough.Call, tried any, why passthrough.Break) passthrough.Next {
	return stateOf(call).broken(tried, why)
}

// Done implements passthrough.Handler.
func (c *caller) Done(call *passthrough.Call, tried any, outcome passthrough.Outcome) {
	if e := stateOf(call); e != nil {
		e.done(tried, outcome)
	}
}

// stateOf returns nil for a call that was refused.
func stateOf(call *passthrough.Call) *exchange {
	e, _ := call.State.(*exchange)
	return e
}

// refused records a call that its caller had no right to. It does not wait: a module must not be able to fill the log with what
// it is refused.
func (c *caller) refused(e *exchange, why *refusal) {
	if !why.denied {
		return
	}
	c.calls.metrics.denied.WithLabelValues(c.manifest.Name).Inc()
	c.calls.deps.Record(e.entry(audit.Denied, audit.Details("reason", why.message)))
}

// read takes what the core needs out of the call's headers.
func (e *exchange) read() *refusal {
	service, _, ok := guard.CutMethod(e.call.Path)
	if !ok {
		return &refusal{code: codes.Unimplemented, message: "the call is for no method: its path is not /SERVICE/METHOD"}
	}
	e.service = service
	for _, f := range e.call.Header {
		switch f.Name {
		case "grpc-timeout":
			timeout, err := passthrough.ParseTimeout(f.Value)
			if err != nil {
				return &refusal{code: codes.InvalidArgument, message: err.Error()}
			}
			e.timeout, e.timeoutText = timeout, f.Value
		case "traceparent":
			e.trace = traceID(f.Value)
		case wire.MetadataModule:
			e.modules++
			e.module = f.Value
		case wire.MetadataTicket:
			e.tickets++
			e.shown = f.Value
		case wire.MetadataCaller, wire.MetadataPrincipal, wire.MetadataSecret:
			e.forged = f.Name
		}
	}
	return nil
}

// traceID returns the trace of a W3C traceparent; "" if it is none.
func traceID(parent string) string {
	const from, to, length = 3, 35, 55
	if len(parent) < length {
		return ""
	}
	return parent[from:to]
}

// judge tells whether the caller may make the call, and finds out on whose behalf it does.
func (e *exchange) judge() *refusal {
	m, name := e.caller.manifest, e.caller.manifest.Name
	if refused := e.identify(); refused != nil {
		return refused
	}
	switch {
	case e.forged != "":
		return denied(codes.PermissionDenied, "module %s may not set the metadata %s: the core does (fix: do not pass on the "+
			"metadata of a call that came in)", name, e.forged)
	case e.modules != 1:
		return &refusal{code: codes.InvalidArgument, message: fmt.Sprintf("the metadata %s must name one module (fix: call "+
			"through core.Module(NAME))", wire.MetadataModule)}
	}
	if err := guard.Call(m, e.module, e.call.Path); err != nil {
		said := status.Convert(err)
		return denied(said.Code(), "%s", said.Message())
	}
	provider := e.caller.calls.deps.Manifest(e.module)
	switch {
	case provider == nil:
		return &refusal{code: codes.Unavailable, message: fmt.Sprintf("module %s is not installed or not enabled", e.module)}
	case !slices.Contains(provider.Services.Provides, e.service):
		return &refusal{code: codes.Unimplemented, message: fmt.Sprintf("module %s does not provide %s (fix: call the module that "+
			"does)", e.module, e.service)}
	}
	return e.introduce()
}

// introduce writes down on whose behalf the caller calls, as the callee is told.
func (e *exchange) introduce() *refusal {
	text, err := wire.PrincipalText(e.principal())
	if err != nil {
		e.caller.calls.deps.Log.Error("a module was not answered", "module", e.caller.manifest.Name, "error", err)
		return &refusal{code: codes.Internal, message: "internal error"}
	}
	e.behalf = text
	return nil
}

// identify reads the caller's ticket. What it may block on, a key that is not known yet, stops this caller's connection alone.
func (e *exchange) identify() *refusal {
	if e.tickets == 0 {
		return nil
	}
	if e.tickets > 1 {
		return denied(codes.Unauthenticated, "show one ticket, not several (fix: do not pass on the metadata of a call that came in)")
	}
	ctx, cancel := context.WithTimeout(context.Background(), ticketTimeout)
	defer cancel()
	ticket, err := e.caller.calls.deps.ReadTicket(ctx, e.shown, e.caller.manifest.Name)
	switch {
	case errors.Is(err, auth.ErrInvalidTicket):
		return denied(codes.Unauthenticated, "%s", err.Error())
	case err != nil:
		e.caller.calls.deps.Log.Error("a module was not answered", "module", e.caller.manifest.Name, "error", err)
		return &refusal{code: codes.Unavailable, message: "tickets cannot be read at the moment: try again later"}
	}
	e.ticket = &ticket
	return nil
}

// principal is on whose behalf the caller calls; outside of a request it is the module itself.
func (e *exchange) principal() link.Principal {
	if e.ticket != nil {
		return e.ticket.Principal
	}
	name := e.caller.manifest.Name
	return link.Principal{Kind: link.KindModule, ID: name, Name: name}
}

// entry is what is recorded of the call.
func (e *exchange) entry(outcome audit.Outcome, details json.RawMessage) audit.Entry {
	entry := audit.Entry{
		Actor: e.principal(), Via: e.caller.manifest.Name, Action: "module.call", Resource: e.module + e.call.Path, Outcome: outcome,
		TraceID: e.trace, Details: details,
	}
	if e.ticket != nil {
		entry.RequestID = e.ticket.RequestID
	}
	return entry
}

// header is what the callee gets: the caller's fields without ours, and then ours.
func (e *exchange) header(secret, timeout string) []hpack.HeaderField {
	const ours = 5
	out := make([]hpack.HeaderField, 0, len(e.call.Header)+ours)
	for _, f := range e.call.Header {
		if f.Name != "grpc-timeout" && !strings.HasPrefix(f.Name, wire.MetadataPrefix) {
			out = append(out, f)
		}
	}
	if timeout != "" {
		out = append(out, hpack.HeaderField{Name: "grpc-timeout", Value: timeout, Sensitive: true}) // sensitive: not worth remembering
	}
	return append(out,
		hpack.HeaderField{Name: wire.MetadataCaller, Value: e.caller.manifest.Name},
		hpack.HeaderField{Name: wire.MetadataSecret, Value: secret},
		hpack.HeaderField{Name: wire.MetadataPrincipal, Value: e.behalf, Sensitive: true},
		hpack.HeaderField{Name: wire.MetadataTicket, Value: e.onward(), Sensitive: true})
}

// onward is the callee's ticket.
func (e *exchange) onward() string {
	deps := &e.caller.calls.deps
	if e.ticket != nil {
		return deps.Derive(e.ticket, e.module)
	}
	ticket, _ := deps.Mint(&auth.Identity{Principal: e.principal()}, e.module, "")
	return ticket
}

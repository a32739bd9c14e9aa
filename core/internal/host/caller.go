package host

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/problem"
	"github.com/platformd/platformd/plugin-api/wire"
)

// caller is the module at the other end of one connection.
type caller struct {
	deps     Deps
	manifest *manifest.Manifest
}

// onBehalfOf returns for whom the module asks: whom its ticket names, or nobody (ok is false). A ticket that is not this
// module's, forged or too old is an error, never nobody.
func (c *caller) onBehalfOf(ctx context.Context) (ticket auth.Ticket, ok bool, err error) {
	shown := metadata.ValueFromIncomingContext(ctx, wire.MetadataTicket)
	if len(shown) == 0 {
		return auth.Ticket{}, false, nil
	}
	if len(shown) > 1 {
		return auth.Ticket{}, false, status.Error(codes.Unauthenticated, "show one ticket, not several")
	}
	ticket, err = c.deps.Auth.ReadTicket(ctx, shown[0], c.manifest.Name)
	switch {
	case err == nil:
		return ticket, true, nil
	case errors.Is(err, auth.ErrInvalidTicket):
		return auth.Ticket{}, false, status.Error(codes.Unauthenticated, err.Error())
	}
	return auth.Ticket{}, false, c.unavailable("tickets cannot be read", err)
}

// actor is who is to be recorded for what the module asks.
func (c *caller) actor(ticket auth.Ticket, known bool) link.Principal {
	if known {
		return ticket.Principal
	}
	return link.Principal{Kind: link.KindModule, ID: c.manifest.Name, Name: c.manifest.Name}
}

// denied records that the module asked for what it is not granted. It does not wait: a module must not be able to fill the log
// with what it is refused, nor be told slowly.
func (c *caller) denied(ctx context.Context, method string) {
	ticket, known, _ := c.onBehalfOf(ctx)
	c.deps.Audit.TryWrite(audit.Entry{
		Actor: c.actor(ticket, known), Via: c.manifest.Name, Action: "core.call", Resource: method, Outcome: audit.Denied,
		RequestID: ticket.RequestID,
	})
}

// answer bounds a call.
func (c *caller) answer(ctx context.Context, method string, run func(context.Context) (any, error)) (answer any, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err = c.answerStream(method, func() error { answer, err = run(ctx); return err })
	return answer, err
}

// answerStream keeps a panic in the core's own code from being every module's end.
func (c *caller) answerStream(method string, run func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			c.deps.Log.Error("a core service panicked", "method", method, "module", c.manifest.Name, "panic", fmt.Sprint(cause),
				"stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "internal error")
		}
	}()
	return run()
}

// unavailable says that something cannot be found out now; the cause is the operator's to know.
func (c *caller) unavailable(what string, cause error) error {
	if errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return status.FromContextError(cause).Err()
	}
	c.deps.Log.Error("a module was not answered", "module", c.manifest.Name, "what", what, "error", cause)
	return status.Error(codes.Unavailable, what+" at the moment: try again later")
}

// refused turns the error of a room into the module's: bad input is told, anything else is not.
func (c *caller) refused(what string, err error) error {
	var p *problem.Problem
	if errors.As(err, &p) && p.Status < 500 {
		return status.Error(codes.InvalidArgument, p.Detail)
	}
	return c.unavailable(what, err)
}

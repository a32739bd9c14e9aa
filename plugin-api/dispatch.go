package pluginapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/problem"
)

// dispatcher is the module's http.Handler: it finds the handler of the route the core decided on, and turns its verdict
// into a response.
type dispatcher struct {
	routes map[string]Handler
	mount  http.Handler
	log    hclog.Logger
}

// ServeHTTP implements http.Handler.
func (d *dispatcher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tracked := &response{ResponseWriter: w}
	if err := d.handle(tracked, r); err != nil {
		d.refuse(tracked, r, err)
	}
}

func (d *dispatcher) handle(w *response, r *http.Request) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = recovered(cause)
		}
	}()
	call := link.FromContext(r.Context())
	if trace := r.Header["Traceparent"]; call != nil && len(trace) == 1 {
		call.TraceParent = trace[0]
	}
	handler := d.find(call)
	if handler == nil {
		return problem.New(http.StatusNotFound, "not_found", "this module has no handler for the route")
	}
	return handler(w, r)
}

func (d *dispatcher) find(call *link.Call) Handler {
	if call == nil {
		return nil
	}
	if handler, ok := d.routes[call.Route]; ok {
		return handler
	}
	if d.mount != nil {
		return HTTP(d.mount)
	}
	return nil
}

// refuse answers a request whose handler returned an error.
func (d *dispatcher) refuse(w *response, r *http.Request, err error) {
	answer, public := verdict(r.Context(), err)
	if !public {
		d.log.Error("handler failed", "route", routeOf(r), "request_id", r.Header.Get("X-Request-Id"), "error", err)
	}
	if w.began {
		if public {
			d.log.Warn("handler failed after its response had begun", "route", routeOf(r), "error", err)
		}
		panic(http.ErrAbortHandler)
	}
	named := *answer // a module may keep a problem and return it to many
	named.RequestID = r.Header.Get("X-Request-Id")
	named.Write(w)
}

// verdict is what a handler's error becomes. Once the request's context has ended, an error that says nothing to the client is
// taken for a consequence: drivers often hide that they were interrupted behind words of their own.
func verdict(ctx context.Context, err error) (answer *problem.Problem, public bool) {
	if errors.Is(err, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler)
	}
	interrupted := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	if answer, public = publicly(err); public && !interrupted {
		return answer, true
	}
	switch ctx.Err() {
	case context.DeadlineExceeded:
		return problem.New(http.StatusGatewayTimeout, "deadline_exceeded", "the request took longer than its route allows"), true
	case context.Canceled:
		return problem.New(499, "canceled", "the client went away"), true
	}
	return answer, public
}

// publicly is problem.FromError, except for what another module answered to this one.
func publicly(err error) (*problem.Problem, bool) {
	var call *CallError
	var carrier interface{ GRPCStatus() *status.Status }
	var own *problem.Problem
	if errors.As(err, &carrier) && errors.As(err, &call) && carrier == call && !errors.As(err, &own) {
		return call.answer()
	}
	return problem.FromError(err)
}

func routeOf(r *http.Request) string {
	if call := link.FromContext(r.Context()); call != nil {
		return call.Route
	}
	return ""
}

// recovered makes an error of a handler's panic; http.ErrAbortHandler keeps its meaning.
func recovered(cause any) error {
	if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		return err
	}
	return fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
}

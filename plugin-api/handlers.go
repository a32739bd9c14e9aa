package pluginapi

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/wire"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// Handle implements modulev1.EventsServer.
func (s *server) Handle(ctx context.Context, req *modulev1.HandleRequest) (*modulev1.HandleResponse, error) {
	pattern := req.GetSubscription()
	handler := s.module.Events[pattern]
	if handler == nil {
		return nil, status.Errorf(codes.NotFound, "this module has no handler for events %q", pattern)
	}
	if !s.events.begin() {
		return nil, status.Error(codes.Unavailable, "this module takes no events: it is starting or stopping")
	}
	defer s.events.end()
	e := wire.EventOf(req.GetEvent())
	ctx = context.WithValue(ctx, deliveryKey{}, delivery{subscription: pattern, traceParent: e.TraceParent})
	err := handle(ctx, handler, e)
	if err == nil {
		return &modulev1.HandleResponse{}, nil
	}
	s.log.Warn("an event was not handled", "type", e.Type, "id", e.ID, "source", e.Source, "subscription", pattern,
		"attempt", req.GetAttempt(), "error", err)
	var drop *DropError
	return &modulev1.HandleResponse{Error: reason(err), Drop: errors.As(err, &drop)}, nil
}

func handle(ctx context.Context, handler EventHandler, e Event) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = recovered(cause)
		}
	}()
	return handler(ctx, e)
}

// maxReason bounds what the core is told of an error, in bytes; a panic has its stack with it.
const maxReason = 4 << 10

// reason is never empty: that would say that the event was handled.
func reason(err error) string {
	text := err.Error()
	if text == "" {
		text = fmt.Sprintf("an error without words, %T", err)
	}
	return wire.Text(text, maxReason)
}

// handlers counts the events that are being handled. The zero value takes none yet.
type handlers struct {
	mu      sync.Mutex // guards the rest
	taking  bool
	drained bool // for good
	running int
	idle    chan struct{} // closed when the last one has ended; nil unless somebody waits
}

// open lets events in.
func (h *handlers) open() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taking = !h.drained
}

// begin reports whether an event may be handled; end must follow if so.
func (h *handlers) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.taking {
		h.running++
	}
	return h.taking
}

func (h *handlers) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running--
	if h.running == 0 && h.idle != nil {
		close(h.idle)
		h.idle = nil
	}
}

// drain lets no more events in, and waits for those that are being handled.
func (h *handlers) drain(ctx context.Context) error {
	select {
	case <-h.refuse():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the handlers of events: %w", ctx.Err())
	}
}

// refuse returns what is closed when nothing is being handled any more.
func (h *handlers) refuse() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taking, h.drained = false, true
	switch {
	case h.running == 0:
		none := make(chan struct{})
		close(none)
		return none
	case h.idle == nil:
		h.idle = make(chan struct{})
	}
	return h.idle
}

package pluginapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/wire"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// publications hand requests to the core on the module's events socket: a call of gRPC costs several times as much. Without a
// socket they call Events.Publish. It is safe for concurrent use.
type publications struct {
	client corev1.EventsClient
	socket string        // set once, before the first; "" = there is none
	room   chan struct{} // holds one for each connection in use

	mu     sync.Mutex
	idle   []*publication // at most atOnce
	closed bool
}

// publication is one connection.
type publication struct {
	net.Conn
	messages *wire.Messages
}

func newPublications(client corev1.EventsClient) *publications {
	return &publications{client: client, room: make(chan struct{}, wire.MaxPublishing)}
}

// publish returns what Events.Publish does.
func (p *publications) publish(ctx context.Context, req *corev1.PublishRequest) error {
	if p.socket == "" {
		_, err := p.client.Publish(ctx, req)
		return err
	}
	select {
	case p.room <- struct{}{}:
		defer func() { <-p.room }()
	case <-ctx.Done():
		return contextError(ctx)
	}
	on, err := p.take(ctx)
	if err != nil {
		return unreachable(ctx, err)
	}
	stop := context.AfterFunc(ctx, on.hangUp)
	answer, err := on.ask(req)
	if errors.Is(err, wire.ErrTooLarge) { // nothing was sent
		answer, err = &corev1.PublishOutcome{Code: int32(codes.InvalidArgument), Message: fmt.Sprintf(
			"the events have more than %d bytes together (fix: publish fewer at once)", wire.MaxMessage)}, nil
	}
	switch {
	case err != nil:
		on.hangUp()
		return unreachable(ctx, err)
	case stop():
		p.putBack(on)
	}
	return outcome(answer)
}

// take returns a connection that nobody else uses.
func (p *publications) take(ctx context.Context) (*publication, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	p.mu.Lock()
	if last := len(p.idle) - 1; last >= 0 {
		defer p.mu.Unlock()
		on := p.idle[last]
		p.idle = p.idle[:last]
		return on, nil
	}
	p.mu.Unlock()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", p.socket)
	if err != nil {
		return nil, err
	}
	return &publication{conn, wire.NewMessages(conn)}, nil
}

func (p *publications) putBack(on *publication) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) == atOnce {
		on.hangUp()
		return
	}
	p.idle = append(p.idle, on)
}

// close closes what is idle; what is in use is closed afterwards.
func (p *publications) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, on := range p.idle {
		on.hangUp()
	}
	p.idle = nil
}

func (p *publication) ask(req *corev1.PublishRequest) (*corev1.PublishOutcome, error) {
	if err := p.messages.Send(req); err != nil {
		return nil, err
	}
	answer := &corev1.PublishOutcome{}
	return answer, p.messages.Receive(answer)
}

func (p *publication) hangUp() { _ = p.Close() } // what was written is answered, or nobody waits for it

// unreachable is the error of a publication of which it is not known what became.
func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	return status.Errorf(codes.Unavailable, "the core cannot be asked: %v", err)
}

// outcome is the error of Events.Publish that an answer stands for.
func outcome(answer *corev1.PublishOutcome) error {
	said := status.New(codes.Code(answer.GetCode()), answer.GetMessage()) //nolint:gosec // unknown ones are allowed
	if failures := answer.GetFailures(); failures != nil {
		if detailed, err := said.WithDetails(failures); err == nil { // it has just been decoded
			said = detailed
		}
	}
	return said.Err()
}

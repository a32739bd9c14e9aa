package pluginapi

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// publications are calls of Events.Publish. They go over streams that last, one at a time over each: to begin a call of gRPC and
// to end it costs more than the rest of it. It is safe for concurrent use.
type publications struct {
	client corev1.EventsClient

	mu   sync.Mutex
	idle []*publication // at most atOnce
}

// publication is one stream.
type publication struct {
	stream corev1.Events_PublishStreamClient
	hangUp context.CancelFunc
}

// publish returns what Events.Publish would.
func (p *publications) publish(ctx context.Context, req *corev1.PublishRequest) error {
	on, err := p.take(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, on.hangUp)
	answer, err := on.ask(req)
	switch {
	case !stop(): // the stream has ended, or is about to
		if err != nil {
			return contextError(ctx)
		}
	case err != nil:
		on.hangUp()
		return err
	default:
		p.putBack(on)
	}
	return outcome(answer)
}

// take returns a stream that nobody else uses.
func (p *publications) take(ctx context.Context) (*publication, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx)
	}
	p.mu.Lock()
	if last := len(p.idle) - 1; last >= 0 {
		defer p.mu.Unlock()
		on := p.idle[last]
		p.idle = p.idle[:last]
		return on, nil
	}
	p.mu.Unlock()
	lasting, hangUp := context.WithCancel(context.Background()) // it is not the caller's: others use it after them
	stop := context.AfterFunc(ctx, hangUp)
	defer stop()
	stream, err := p.client.PublishStream(lasting) //nolint:contextcheck // see above
	if err != nil {
		hangUp()
		return nil, err
	}
	return &publication{stream, hangUp}, nil
}

func (p *publications) putBack(on *publication) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == atOnce {
		on.hangUp()
		return
	}
	p.idle = append(p.idle, on)
}

func (p *publication) ask(req *corev1.PublishRequest) (*corev1.PublishStreamResponse, error) {
	if err := p.stream.Send(&corev1.PublishStreamRequest{Publish: req}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	answer, err := p.stream.Recv() // after io.EOF it says why
	if errors.Is(err, io.EOF) {
		err = status.Error(codes.Unavailable, "the core has ended the call")
	}
	return answer, err
}

// outcome is the error of Publish that an answer stands for.
func outcome(answer *corev1.PublishStreamResponse) error {
	said := status.New(codes.Code(answer.GetCode()), answer.GetMessage()) //nolint:gosec // unknown ones are allowed
	if failures := answer.GetFailures(); failures != nil {
		if detailed, err := said.WithDetails(failures); err == nil { // it has just been decoded
			said = detailed
		}
	}
	return said.Err()
}

package host

import (
	"context"
	"errors"
	"io"
	"net"

	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/wire"
	"github.com/platformd/platformd/plugin-api/wire/guard"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// Publications returns what answers a connection to a module's events socket, one request after the other, until it or ctx ends;
// publishing judges the events. A publication whose module hangs up is not ended: Deps.Publish bounds it.
func (h *Host) Publications(m *manifest.Manifest, publishing *guard.Publishing) func(context.Context, net.Conn) {
	s := &eventsServer{caller: &caller{deps: h.deps, manifest: m}, publishing: publishing}
	return func(ctx context.Context, conn net.Conn) {
		messages := wire.NewMessages(conn)
		for {
			req := &corev1.PublishRequest{}
			err := messages.Receive(req)
			if err == nil {
				err = messages.Send(s.outcome(ctx, req))
			}
			if err != nil {
				s.disconnected(ctx, err)
				return
			}
		}
	}
}

// outcome publishes, and returns what Publish does.
func (s *eventsServer) outcome(ctx context.Context, req *corev1.PublishRequest) *corev1.PublishOutcome {
	err := s.answerStream(corev1.Events_Publish_FullMethodName, func() error {
		_, err := s.Publish(ctx, req)
		return err
	})
	if err == nil {
		return &corev1.PublishOutcome{}
	}
	said := status.Convert(err)
	answer := &corev1.PublishOutcome{Code: int32(said.Code()), Message: said.Message()} //nolint:gosec // codes are small
	for _, detail := range said.Details() {
		if failures, ok := detail.(*corev1.PublishFailures); ok {
			answer.Failures = failures
		}
	}
	return answer
}

// disconnected logs the end of a connection, if it is the module's mistake.
func (s *eventsServer) disconnected(ctx context.Context, err error) {
	if !errors.Is(err, io.EOF) && ctx.Err() == nil {
		s.deps.Log.Warn("a module's connection to its events socket has ended", "module", s.manifest.Name, "error", err)
	}
}

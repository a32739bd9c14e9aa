package guard

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// PublishStream is one call of Events.PublishStream.
type PublishStream = grpc.BidiStreamingServer[corev1.PublishStreamRequest, corev1.PublishStreamResponse]

// Publications answers what comes over the stream by publish, which is Events.Publish, and has to return by itself.
func Publications(
	stream PublishStream, publish func(context.Context, *corev1.PublishRequest) (*corev1.PublishResponse, error),
) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		_, err = publish(stream.Context(), req.GetPublish())
		if err := stream.Send(outcome(err)); err != nil {
			return err
		}
	}
}

// outcome is the answer for an error of Events.Publish, or none.
func outcome(err error) *corev1.PublishStreamResponse {
	said := status.Convert(err)
	answer := &corev1.PublishStreamResponse{Code: int32(said.Code()), Message: said.Message()} //nolint:gosec // codes are small
	for _, detail := range said.Details() {
		if failures, ok := detail.(*corev1.PublishFailures); ok {
			answer.Failures = failures
		}
	}
	return answer
}

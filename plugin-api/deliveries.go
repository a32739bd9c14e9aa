package pluginapi

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/wire"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// Deliver implements modulev1.EventsServer.
func (s *server) Deliver(stream grpc.BidiStreamingServer[modulev1.DeliverRequest, modulev1.DeliverResponse]) error {
	answers := wire.NewSender(func(outcomes []*modulev1.Outcome) {
		_ = stream.Send(&modulev1.DeliverResponse{Outcomes: outcomes}) // it fails when the call is over, which Recv says, too
	})
	defer answers.Wait()
	var running sync.WaitGroup
	defer running.Wait()
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, d := range req.GetDeliveries() {
			running.Go(func() { answers.Add(s.deliver(stream.Context(), d)) })
		}
	}
}

// deliver is one call of Handle.
func (s *server) deliver(ctx context.Context, d *modulev1.Delivery) *modulev1.Outcome {
	ctx, cancel := context.WithTimeout(ctx, d.GetTimeout().AsDuration())
	defer cancel()
	answer, err := s.Handle(ctx, d.GetRequest())
	if answer.GetError() != "" && ctx.Err() != nil {
		err = contextError(ctx) // as gRPC would have it, whatever the handler makes of it
	}
	said := status.Convert(err)
	return &modulev1.Outcome{
		Number: d.GetNumber(), Answer: answer, Code: int32(said.Code()), Message: said.Message(), //nolint:gosec // codes are small
	}
}

package instance

import (
	"context"
	"errors"

	"google.golang.org/grpc"
)

// brokerStream is the call on which go-plugin's two halves tell each other which further connections they offer.
const brokerStream = "/plugin.GRPCBroker/StartStream"

// errBroker ends the stream of a module that offers connections: ours has no reason to, and go-plugin starts a goroutine for
// each offer, without a bound.
var errBroker = errors.New("the module offers connections that nobody asked for")

// quietBroker lets the core offer connections to the module, and takes no offers from it.
//
//nolint:revive // grpc.StreamClientInterceptor has six parameters
func quietBroker(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, next grpc.Streamer,
	options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := next(ctx, desc, conn, method, options...)
	if err != nil || method != brokerStream {
		return stream, err
	}
	return quietStream{stream}, nil
}

type quietStream struct{ grpc.ClientStream }

// RecvMsg implements grpc.ClientStream.
func (s quietStream) RecvMsg(m any) error {
	if err := s.ClientStream.RecvMsg(m); err != nil {
		return err
	}
	return errBroker
}

package instance

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
)

// talkative is a stream on which the module always has something to say.
type talkative struct{ grpc.ClientStream }

// RecvMsg implements grpc.ClientStream.
func (talkative) RecvMsg(any) error { return nil }

func TestAModulesOffersEndTheBrokersStream(t *testing.T) {
	t.Parallel()
	opens := func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, ...grpc.CallOption) (grpc.ClientStream, error) {
		return talkative{}, nil
	}
	for method, want := range map[string]error{brokerStream: errBroker, "/plugin.GRPCStdio/StreamStdio": nil} {
		stream, err := quietBroker(t.Context(), nil, nil, method, opens)
		require.NoError(t, err)
		require.Equal(t, want, stream.RecvMsg(nil), method)
	}
}

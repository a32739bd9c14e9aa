package plugintest_test

import (
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/plugintest/echo"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// startServices serves shop's service on the socket with the secret "secret".
func startServices(t *testing.T, socket string) (stop func()) {
	t.Helper()
	server, err := pluginapi.NewServer(serving(shop), hclog.NewNullLogger(), nil)
	require.NoError(t, err)
	_, err = server.Init(t.Context(), &modulev1.InitRequest{Name: "shop", ServicesSocket: socket, DataSecret: []byte("secret")})
	require.NoError(t, err)
	return func() {
		_, err := server.Stop(t.Context(), &modulev1.StopRequest{})
		require.NoError(t, err)
	}
}

func TestAModuleDescribesWhatItWasBuiltAgainst(t *testing.T) {
	t.Parallel()
	server, err := pluginapi.NewServer(pluginapi.Module{}, hclog.NewNullLogger(), nil)
	require.NoError(t, err)
	describe := func(services ...string) (paths []string) {
		answer, err := server.Describe(t.Context(), &modulev1.DescribeRequest{Consumes: services})
		require.NoError(t, err)
		set := &descriptorpb.FileDescriptorSet{}
		require.NoError(t, proto.Unmarshal(answer.GetConsumed(), set))
		for _, file := range set.GetFile() {
			paths = append(paths, file.GetName())
		}
		return paths
	}
	both := []string{"google/protobuf/wrappers.proto", "platformd/echo/v1/echo.proto"}
	require.Equal(t, both, describe(echo.Service))
	require.Equal(t, both, describe("a.B", echo.Service, echo.Service))
	require.Empty(t, describe("a.B"))
	require.Empty(t, describe())
}

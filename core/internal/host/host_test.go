package host_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/platformd/platformd/core/internal/host"
	"github.com/platformd/platformd/plugin-api/manifest"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

func client(t *testing.T, deps host.Deps, caller *manifest.Manifest) corev1.RegistryClient {
	t.Helper()
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer()
	host.Services(deps, caller)(server)
	go func() { _ = server.Serve(listener) }() // ends with Stop
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///core", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return listener.Dial() }))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return corev1.NewRegistryClient(conn)
}

func TestAModuleSeesOnlyItsDependencies(t *testing.T) {
	t.Parallel()
	versions := map[string]string{"billing": "0.2.0", "notify": "", "secret": "1.0.0"}
	down := map[string]error{"notify": errors.New("it is not installed")}
	registry := client(t, host.Deps{
		Version: func(name string) string { return versions[name] },
		Ready:   func(name string) error { return down[name] },
	}, &manifest.Manifest{Name: "blog", Requires: manifest.Requires{
		Modules: map[string]string{"billing": "^0.2"}, Optional: map[string]string{"notify": ">=0.1"},
	}})

	billing, err := registry.GetModule(t.Context(), &corev1.GetModuleRequest{Name: "billing"})
	require.NoError(t, err)
	require.Equal(t, "0.2.0", billing.GetVersion())
	require.True(t, billing.GetReady())

	notify, err := registry.GetModule(t.Context(), &corev1.GetModuleRequest{Name: "notify"})
	require.NoError(t, err)
	require.False(t, notify.GetReady())
	require.Equal(t, "it is not installed", notify.GetReason())

	for _, name := range []string{"secret", "", "blog"} {
		_, err = registry.GetModule(t.Context(), &corev1.GetModuleRequest{Name: name})
		require.Equal(t, codes.PermissionDenied, status.Code(err), name)
	}
}

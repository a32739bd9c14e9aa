package host_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/wire/guard"
)

// expected reads testdata/policies.txt: method → what it needs.
func expected(t *testing.T) map[string][2]string {
	t.Helper()
	text, err := os.ReadFile("testdata/policies.txt")
	require.NoError(t, err)
	table := map[string][2]string{}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] != "#" {
			table[fields[0]] = [2]string{fields[1], strings.Join(fields[2:], "")}
		}
	}
	return table
}

func TestEveryMethodHasItsPolicy(t *testing.T) {
	t.Parallel()
	policies, err := guard.Policies()
	require.NoError(t, err)
	want := expected(t)
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(policies)))
	for method, policy := range policies {
		got := [2]string{policy.GetGrant(), policy.GetAccess()}
		if policy.GetOpen() {
			got = [2]string{"open", ""}
		}
		require.Equal(t, want[method], got, method)
	}
}

// without is everything but one grant.
func without(grant string) *manifest.Manifest {
	m := everything()
	switch grant {
	case "auth":
		m.Grants.Auth = nil
	case "identity":
		m.Grants.Identity = nil
	case "authz":
		m.Grants.Authz = nil
	case "audit":
		m.Grants.Audit = nil
	case "cache":
		m.Grants.Cache = 0
	}
	return m
}

// only is nothing but one grant.
func only(grant string) *manifest.Manifest {
	all, m := everything().Grants, &manifest.Manifest{Name: "shop"}
	switch grant {
	case "auth":
		m.Grants.Auth = all.Auth
	case "identity":
		m.Grants.Identity = all.Identity
	case "authz":
		m.Grants.Authz = all.Authz
	case "audit":
		m.Grants.Audit = all.Audit
	case "cache":
		m.Grants.Cache = all.Cache
	}
	return m
}

// call calls any method, a stream or not, with nothing, and returns what it is first answered: nil for a message.
func call(t *testing.T, conn *grpc.ClientConn, method string) error {
	t.Helper()
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	require.NoError(t, err)
	_ = stream.SendMsg(&emptypb.Empty{}) // whether it was answered before this, RecvMsg says
	_ = stream.CloseSend()
	return stream.RecvMsg(&emptypb.Empty{})
}

// TestTheManifestIsTheCeiling (G11) calls each method as a module that is granted nothing else, and as one that is granted all
// but what it takes.
func TestTheManifestIsTheCeiling(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for method, needs := range expected(t) {
		allowed, denied := r.connect(only(needs[0])), r.connect(without(needs[0]))
		err := call(t, allowed, method)
		granted := status.Code(err)
		require.NotContains(t, status.Convert(err).Message(), "may not call", method)
		require.NotContains(t, []codes.Code{codes.Unimplemented, codes.Internal, codes.Unavailable}, granted, "%s: %v", method, err)
		err = call(t, denied, method)
		if needs[0] == "open" {
			require.Equal(t, granted, status.Code(err), method)
			continue
		}
		require.Equal(t, codes.PermissionDenied, status.Code(err), method)
		require.ErrorContains(t, err, "module shop may not call "+method[1:]+" (fix: write grants: { "+needs[0], method)
	}
}

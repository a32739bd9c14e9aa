package manifest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/manifest"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	routes := []manifest.Route{{ID: "list"}, {ID: "get"}}
	for name, test := range map[string]struct {
		migrations string
		offer      manifest.Offer
		want       []string // parts of the error; none = they agree
	}{
		"equal":              {offer: manifest.Offer{Routes: []string{"get", "list"}}},
		"mount serves all":   {offer: manifest.Offer{Mount: true}},
		"mount beside some":  {offer: manifest.Offer{Routes: []string{"get"}, Mount: true}},
		"equal, migrations":  {migrations: "go", offer: manifest.Offer{Mount: true, Migrations: []string{"0001"}}},
		"handler missing":    {offer: manifest.Offer{Routes: []string{"get"}}, want: []string{"route list is in module.yaml"}},
		"route missing":      {offer: manifest.Offer{Routes: []string{"get", "list", "put"}}, want: []string{"for route put, which"}},
		"foreign with mount": {offer: manifest.Offer{Routes: []string{"put"}, Mount: true}, want: []string{"for route put, which"}},
		"migrations missing": {migrations: "go", offer: manifest.Offer{Mount: true}, want: []string{"`migrations: go`", "0 migr"}},
		"migrations undeclared": {
			offer: manifest.Offer{Mount: true, Migrations: []string{"0001"}}, want: []string{"has 1 migrations"},
		},
		"all at once": {
			offer: manifest.Offer{Routes: []string{"a"}}, want: []string{"route list", "route get", "route a,", "fix: "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := manifest.Manifest{Routes: routes, Migrations: test.migrations}
			err := m.Compare(test.offer)
			if test.want == nil {
				require.NoError(t, err)
				return
			}
			for _, part := range test.want {
				require.ErrorContains(t, err, part)
			}
		})
	}
}

func TestCompareSubscriptions(t *testing.T) {
	t.Parallel()
	var m manifest.Manifest
	m.Events.Subscribes = []manifest.Subscription{{Type: "billing.*"}, {Type: "shop.order.paid"}}
	require.NoError(t, m.Compare(manifest.Offer{Subscriptions: []string{"billing.*", "shop.order.paid"}}))
	err := m.Compare(manifest.Offer{Subscriptions: []string{"billing.*", "billing.plan.changed"}})
	require.ErrorContains(t, err, "module.yaml subscribes to shop.order.paid, but the binary has no handler for it")
	require.ErrorContains(t, err, "a handler for events billing.plan.changed, to which module.yaml does not subscribe")
	require.NoError(t, new(manifest.Manifest).Compare(manifest.Offer{}))
}

func TestServicesThatDiffer(t *testing.T) {
	t.Parallel()
	m := &manifest.Manifest{Services: manifest.Services{Provides: []string{"a.A", "b.B"}}}
	require.NoError(t, m.CompareServices([]string{"b.B", "a.A", "grpc.reflection.v1.ServerReflection", "grpc.health.v1.Health"}))
	require.ErrorContains(t, m.CompareServices([]string{"a.A"}), "b.B is in module.yaml, but the binary does not serve it")
	err := m.CompareServices([]string{"a.A", "c.C"})
	require.ErrorContains(t, err, "b.B is in module.yaml, but the binary does not serve it; "+
		"the binary serves c.C, which is not in module.yaml (fix: ")
	require.Error(t, new(manifest.Manifest).CompareServices([]string{"grpc.other.S"}))
}

package guard_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/wire/guard"
)

func TestCall(t *testing.T) {
	t.Parallel()
	m := &manifest.Manifest{
		Name: "blog",
		Requires: manifest.Requires{
			Modules: map[string]string{"billing": "*"}, Optional: map[string]string{"shop": "*"},
		},
		Services: manifest.Services{Consumes: []string{"billing.v1.Plans", "shop.v1.Shop/Buy"}},
	}
	for name, c := range map[string]struct {
		to, method string
		code       codes.Code
		says       string
	}{
		"a service":             {"billing", "/billing.v1.Plans/Get", codes.OK, ""},
		"a method":              {"shop", "/shop.v1.Shop/Buy", codes.OK, ""},
		"another method":        {"shop", "/shop.v1.Shop/Sell", codes.PermissionDenied, "name shop.v1.Shop under services.consumes"},
		"another service":       {"billing", "/billing.v1.Secrets/Get", codes.PermissionDenied, "under services.consumes"},
		"another module":        {"ledger", "/billing.v1.Plans/Get", codes.PermissionDenied, `name "ledger" under requires.modules or`},
		"no module":             {"", "/billing.v1.Plans/Get", codes.PermissionDenied, "requires.optional in its module.yaml"},
		"no slash before it":    {"billing", "billing.v1.Plans/Get", codes.InvalidArgument, "call /package.Service/Method"},
		"no method":             {"billing", "/billing.v1.Plans", codes.InvalidArgument, "is not a method"},
		"an empty method":       {"billing", "/billing.v1.Plans/", codes.InvalidArgument, "is not a method"},
		"an empty service":      {"billing", "//Get", codes.InvalidArgument, "is not a method"},
		"more than one of them": {"billing", "/billing.v1.Plans/Get/Set", codes.InvalidArgument, "is not a method"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := guard.Call(m, c.to, c.method)
			require.Equal(t, c.code, status.Code(err))
			if c.code != codes.OK {
				require.ErrorContains(t, err, c.says)
				require.ErrorContains(t, err, "(fix: ")
			}
		})
	}
}

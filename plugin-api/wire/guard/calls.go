package guard

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/manifest"
)

// Call judges a call of a module to another one, by what its manifest says. method is the full name, such as
// /platformd.billing.v1.BillingService/GetPlan. The error is gRPC's: INVALID_ARGUMENT, or PERMISSION_DENIED with the fix.
func Call(m *manifest.Manifest, to, method string) error {
	service, name, ok := CutMethod(method)
	switch {
	case !ok:
		return status.Errorf(codes.InvalidArgument, "%.255q is not a method (fix: call /package.Service/Method)", method)
	case !m.Services.MayCall(service, name):
		return denied(m, to, method, fmt.Sprintf("name %.255s under services.consumes", service))
	case !m.DependsOn(to):
		return denied(m, to, method, fmt.Sprintf("name %.99q under requires.modules or requires.optional", to))
	}
	return nil
}

// CutMethod takes the full name of a method apart, "/SERVICE/METHOD".
func CutMethod(full string) (service, method string, ok bool) {
	path, rooted := strings.CutPrefix(full, "/")
	service, method, ok = strings.Cut(path, "/")
	return service, method, rooted && ok && service != "" && method != "" && !strings.Contains(method, "/")
}

func denied(m *manifest.Manifest, to, method, fix string) error {
	return status.Errorf(codes.PermissionDenied, "module %s may not call %.255s of %.99q (fix: %s in its module.yaml)", m.Name,
		strings.TrimPrefix(method, "/"), to, fix)
}

// Package guard answers what a module asks of the core as far as the module's manifest grants it, by the policies that the
// protocol itself states. The core uses it, and so does package plugintest: a test is refused what production would refuse.
//
// It must not be imported by the SDK: it knows manifests, which a module's binary need not link.
package guard

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/platformd/platformd/plugin-api/manifest"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// Policies returns what a module must be granted for each method of platform.core.v1, by the method's full name, such as
// /platform.core.v1.Auth/Validate. It reads them from the protocol itself: a method without a policy, or with one that no
// manifest can meet, is an error.
func Policies() (map[string]*corev1.Policy, error) {
	policies := map[string]*corev1.Policy{}
	var problems []error
	pkg := corev1.File_platform_core_v1_policy_proto.Package()
	protoregistry.GlobalFiles.RangeFilesByPackage(pkg, func(file protoreflect.FileDescriptor) bool {
		services := file.Services()
		for i := range services.Len() {
			methods := services.Get(i).Methods()
			for j := range methods.Len() {
				name := fmt.Sprintf("/%s/%s", services.Get(i).FullName(), methods.Get(j).Name())
				policy, err := policyOf(methods.Get(j))
				if err != nil {
					problems = append(problems, fmt.Errorf("%s %w", name, err))
				}
				policies[name] = policy
			}
		}
		return true
	})
	return policies, errors.Join(problems...)
}

func policyOf(method protoreflect.MethodDescriptor) (*corev1.Policy, error) {
	policy, ok := proto.GetExtension(method.Options(), corev1.E_Policy).(*corev1.Policy)
	switch {
	case !ok || policy == nil:
		return nil, errors.New("has no policy (fix: give it the option (policy) in its .proto)")
	case policy.GetOpen() != (policy.GetGrant() == ""):
		return nil, errors.New("has a policy that is both open and not (fix: set either open or grant)")
	case !policy.GetOpen() && !manifest.Grantable(policy.GetGrant(), policy.GetAccess()):
		return nil, fmt.Errorf("wants %s, which no manifest can grant (fix: correct its option (policy))", wanted(policy))
	}
	return policy, nil
}

// wanted is what a manifest must say.
func wanted(p *corev1.Policy) string {
	switch {
	case p.GetAccess() != "":
		return fmt.Sprintf("grants: { %s: [%s] }", p.GetGrant(), p.GetAccess())
	case p.GetGrant() == "cache":
		return "grants: { cache: SIZE }"
	}
	return fmt.Sprintf("grants: { %s: true }", p.GetGrant())
}

// Registrar registers the core's services for one module: each method is answered only as far as the module's manifest grants it.
type Registrar struct {
	Server   grpc.ServiceRegistrar
	Module   *manifest.Manifest
	Policies map[string]*corev1.Policy
	// Answer runs a method that is granted; nil runs it as it is.
	Answer func(ctx context.Context, method string, run func(context.Context) (any, error)) (any, error)
	// AnswerStream does it for a stream, which may last.
	AnswerStream func(method string, run func() error) error
	// Denied hears of each method that is not; nil tells nobody.
	Denied func(ctx context.Context, method string)
}

// RegisterService implements grpc.ServiceRegistrar. What has no policy could not be judged, so it is not served at all.
func (g *Registrar) RegisterService(desc *grpc.ServiceDesc, impl any) {
	guarded := *desc
	guarded.Methods, guarded.Streams = nil, nil
	for _, method := range desc.Methods {
		name := "/" + desc.ServiceName + "/" + method.MethodName
		if policy := g.Policies[name]; policy != nil {
			method.Handler = g.guarded(policy, name, method.Handler)
			guarded.Methods = append(guarded.Methods, method)
		}
	}
	for _, stream := range desc.Streams {
		name := "/" + desc.ServiceName + "/" + stream.StreamName
		if policy := g.Policies[name]; policy != nil {
			stream.Handler = g.guardedStream(policy, name, stream.Handler)
			guarded.Streams = append(guarded.Streams, stream)
		}
	}
	g.Server.RegisterService(&guarded, impl)
}

// handler is that of grpc.MethodDesc.
type handler = func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error)

func (g *Registrar) guarded(policy *corev1.Policy, method string, next handler) handler {
	return func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		if err := g.judge(ctx, policy, method); err != nil {
			return nil, err
		}
		run := func(ctx context.Context) (any, error) { return next(srv, ctx, dec, interceptor) }
		if g.Answer != nil {
			return g.Answer(ctx, method, run)
		}
		return run(ctx)
	}
}

func (g *Registrar) guardedStream(policy *corev1.Policy, method string, next grpc.StreamHandler) grpc.StreamHandler {
	return func(srv any, stream grpc.ServerStream) error {
		if err := g.judge(stream.Context(), policy, method); err != nil {
			return err
		}
		run := func() error { return next(srv, stream) }
		if g.AnswerStream != nil {
			return g.AnswerStream(method, run)
		}
		return run()
	}
}

func (g *Registrar) judge(ctx context.Context, policy *corev1.Policy, method string) error {
	if policy.GetOpen() || g.Module.Grants.Holds(policy.GetGrant(), policy.GetAccess()) {
		return nil
	}
	if g.Denied != nil {
		g.Denied(ctx, method)
	}
	return status.Errorf(codes.PermissionDenied, "module %s may not call %s (fix: write %s in its module.yaml)",
		g.Module.Name, strings.TrimPrefix(method, "/"), wanted(policy))
}

package host

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/plugin-api/link"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// maxBatch is how many permissions one call may ask about.
const maxBatch = 100

type authzServer struct {
	corev1.UnimplementedAuthzServer
	*caller
}

// Check implements corev1.AuthzServer.
func (s *authzServer) Check(ctx context.Context, req *corev1.CheckRequest) (*corev1.CheckResponse, error) {
	allowed, err := s.decide(ctx, req.GetUserId(), req.GetPermission())
	if err != nil {
		return nil, err
	}
	return &corev1.CheckResponse{Allowed: allowed[0]}, nil
}

// BatchCheck implements corev1.AuthzServer.
func (s *authzServer) BatchCheck(ctx context.Context, req *corev1.BatchCheckRequest) (*corev1.BatchCheckResponse, error) {
	if len(req.GetPermissions()) > maxBatch {
		return nil, status.Errorf(codes.InvalidArgument, "ask about at most %d permissions at a time", maxBatch)
	}
	allowed, err := s.decide(ctx, req.GetUserId(), req.GetPermissions()...)
	if err != nil {
		return nil, err
	}
	return &corev1.BatchCheckResponse{Allowed: allowed}, nil
}

// Require implements corev1.AuthzServer.
func (s *authzServer) Require(ctx context.Context, req *corev1.RequireRequest) (*corev1.RequireResponse, error) {
	allowed, err := s.decide(ctx, req.GetUserId(), req.GetPermission())
	if err != nil {
		return nil, err
	}
	if !allowed[0] {
		return nil, status.Errorf(codes.PermissionDenied, "this needs the permission %s", req.GetPermission())
	}
	return &corev1.RequireResponse{}, nil
}

// ListPermissions implements corev1.AuthzServer.
func (s *authzServer) ListPermissions(ctx context.Context, req *corev1.ListPermissionsRequest) (
	*corev1.ListPermissionsResponse, error,
) {
	who, err := s.subject(ctx, req.GetUserId())
	if err != nil {
		return nil, err
	}
	held, err := s.deps.Authz.Held(holder(who))
	if err != nil {
		return nil, s.unavailable("permissions cannot be decided", err)
	}
	return &corev1.ListPermissionsResponse{Permissions: held}, nil
}

// subject is who a request is about.
func (s *authzServer) subject(ctx context.Context, userID string) (auth.Identity, error) {
	if userID != "" {
		return auth.Identity{Principal: link.Principal{Kind: link.KindUser, ID: userID}}, nil
	}
	ticket, known, err := s.onBehalfOf(ctx)
	if err != nil {
		return auth.Identity{}, err
	}
	if !known {
		return auth.Identity{}, status.Error(codes.Unauthenticated,
			"there is nobody to decide about (fix: use the context of a request, or name a user)")
	}
	return ticket.Identity, nil
}

// decide answers for each permission. One that no installed module declares is refused: a misspelt name would else deny for ever.
func (s *authzServer) decide(ctx context.Context, userID string, permissions ...string) ([]bool, error) {
	who, err := s.subject(ctx, userID)
	if err != nil {
		return nil, err
	}
	for _, permission := range permissions {
		if !s.deps.Authz.Declared(permission) {
			return nil, status.Errorf(codes.NotFound, "no installed module declares the permission %q", permission)
		}
	}
	allowed := make([]bool, len(permissions))
	for i, permission := range permissions {
		if allowed[i], err = s.deps.Authz.Decide(holder(who), permission); err != nil {
			return nil, s.unavailable("permissions cannot be decided", err)
		}
	}
	return allowed, nil
}

func holder(who auth.Identity) authz.Holder {
	return authz.Holder{Principal: who.Principal, Bound: who.Permissions}
}

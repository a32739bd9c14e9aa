package pluginapi

import (
	"context"
	"fmt"

	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// Authz decides what somebody may do: whoever sent the request that the context belongs to, or the user that For names. It needs
// grants: { authz: [check] }, and is safe for concurrent use. Permissions are the constants that permgen makes.
//
// Errors of every method: codes.Unauthenticated if there is nobody to decide about, codes.NotFound for a permission that no
// module declares, codes.Unavailable if it cannot be decided. After an error nothing is allowed.
type Authz struct {
	client corev1.AuthzClient
	user   string
}

// For returns an Authz that decides about one user, whoever asks: for work in the background.
func (a *Authz) For(userID string) *Authz { return &Authz{client: a.client, user: userID} }

// Check tells whether the permission is held.
func (a *Authz) Check(ctx context.Context, permission string) (bool, error) {
	answer, err := a.client.Check(ctx, &corev1.CheckRequest{Permission: permission, UserId: a.user})
	if err != nil {
		return false, fmt.Errorf("check %s: %w", permission, err)
	}
	return answer.GetAllowed(), nil
}

// BatchCheck tells it for up to 100 permissions, in their order.
func (a *Authz) BatchCheck(ctx context.Context, permissions ...string) ([]bool, error) {
	answer, err := a.client.BatchCheck(ctx, &corev1.BatchCheckRequest{Permissions: permissions, UserId: a.user})
	if err != nil {
		return nil, fmt.Errorf("check %d permissions: %w", len(permissions), err)
	}
	return answer.GetAllowed(), nil
}

// Require returns an error with codes.PermissionDenied, which a handler can return as it is, unless the permission is held.
func (a *Authz) Require(ctx context.Context, permission string) error {
	_, err := a.client.Require(ctx, &corev1.RequireRequest{Permission: permission, UserId: a.user})
	return err
}

// Permissions returns the names of all permissions that are held, sorted.
func (a *Authz) Permissions(ctx context.Context) ([]string, error) {
	answer, err := a.client.ListPermissions(ctx, &corev1.ListPermissionsRequest{UserId: a.user})
	if err != nil {
		return nil, fmt.Errorf("list permissions: %w", err)
	}
	return answer.GetPermissions(), nil
}

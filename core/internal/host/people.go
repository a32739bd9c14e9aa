package host

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/identity"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

type authServer struct {
	corev1.UnimplementedAuthServer
	*caller
}

// Validate implements corev1.AuthServer.
func (s *authServer) Validate(ctx context.Context, req *corev1.ValidateRequest) (*corev1.ValidateResponse, error) {
	who, err := s.deps.Auth.Authenticate(ctx, req.GetToken())
	switch {
	case errors.Is(err, auth.ErrInvalidToken):
		return nil, status.Error(codes.Unauthenticated, "the token is not valid: it is unknown, expired or revoked")
	case err != nil:
		return nil, s.unavailable("tokens cannot be checked", err)
	}
	ticket, expires := s.deps.Auth.Mint(&who, s.manifest.Name, "")
	if ticket == "" {
		return nil, s.unavailable("tickets cannot be made", errors.New("there is no key for them"))
	}
	return &corev1.ValidateResponse{
		Principal: &corev1.Principal{Kind: who.Principal.Kind, Id: who.Principal.ID, Name: who.Principal.Name},
		Ticket:    ticket, TicketExpiresAt: timestamppb.New(expires),
	}, nil
}

type identityServer struct {
	corev1.UnimplementedIdentityServer
	*caller
}

// GetUser implements corev1.IdentityServer.
func (s *identityServer) GetUser(ctx context.Context, req *corev1.GetUserRequest) (*corev1.GetUserResponse, error) {
	user, err := s.deps.Identity.Get(ctx, req.GetId())
	switch {
	case errors.Is(err, identity.ErrNotFound):
		return nil, status.Errorf(codes.NotFound, "there is no user %q", req.GetId())
	case err != nil:
		return nil, s.refused("users cannot be looked up", err)
	}
	return &corev1.GetUserResponse{User: userMessage(user)}, nil
}

// BatchGetUsers implements corev1.IdentityServer.
func (s *identityServer) BatchGetUsers(ctx context.Context, req *corev1.BatchGetUsersRequest) (
	*corev1.BatchGetUsersResponse, error,
) {
	users, err := s.deps.Identity.BatchGet(ctx, req.GetIds())
	if err != nil {
		return nil, s.refused("users cannot be looked up", err)
	}
	return &corev1.BatchGetUsersResponse{Users: userMessages(users)}, nil
}

// defaultPage is how many users a page has if the module does not say.
const defaultPage = 50

// ListUsers implements corev1.IdentityServer.
func (s *identityServer) ListUsers(ctx context.Context, req *corev1.ListUsersRequest) (*corev1.ListUsersResponse, error) {
	limit := int(req.GetPageSize())
	if limit == 0 {
		limit = defaultPage
	}
	listing, err := s.deps.Identity.List(ctx, identity.Page{After: req.GetPageToken(), Limit: limit, Query: req.GetQuery()})
	if err != nil {
		return nil, s.refused("users cannot be listed", err)
	}
	return &corev1.ListUsersResponse{Users: userMessages(listing.Users), NextPageToken: listing.Next}, nil
}

func userMessages(users []identity.User) []*corev1.User {
	messages := make([]*corev1.User, len(users))
	for i, user := range users {
		messages[i] = userMessage(user)
	}
	return messages
}

func userMessage(u identity.User) *corev1.User {
	return &corev1.User{
		Id: u.ID, Email: u.Email, Name: u.Name, Disabled: u.Disabled, CreatedAt: timestamppb.New(u.CreatedAt),
	}
}

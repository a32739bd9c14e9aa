package plugintest

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/wire"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// Written is one row that the module has added to the audit log.
type Written struct {
	Action    pluginapi.Action
	Principal pluginapi.Principal // on whose behalf; the zero value: the module's own
}

// onBehalfOf is the caller whose ticket came with a call.
func (c *core) onBehalfOf(ctx context.Context) (caller, bool, error) {
	shown := metadata.ValueFromIncomingContext(ctx, wire.MetadataTicket)
	if len(shown) == 0 {
		return caller{}, false, nil
	}
	found, ok := c.callers.byTicket(shown[0])
	if !ok || len(shown) > 1 {
		return caller{}, false, status.Error(codes.Unauthenticated, "the ticket is not valid")
	}
	return found, true, nil
}

type authServer struct {
	corev1.UnimplementedAuthServer
	*core
}

// Validate implements corev1.AuthServer.
func (s *authServer) Validate(_ context.Context, req *corev1.ValidateRequest) (*corev1.ValidateResponse, error) {
	found, ok := s.callers.find(req.GetToken())
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "the token is not valid")
	}
	return &corev1.ValidateResponse{
		Principal: &corev1.Principal{Kind: found.principal.Kind, Id: found.principal.ID, Name: found.principal.Name},
		Ticket:    found.ticket, TicketExpiresAt: timestamppb.New(time.Now().Add(time.Minute)),
	}, nil
}

type identityServer struct {
	corev1.UnimplementedIdentityServer
	*core
}

// GetUser implements corev1.IdentityServer.
func (s *identityServer) GetUser(_ context.Context, req *corev1.GetUserRequest) (*corev1.GetUserResponse, error) {
	i := slices.IndexFunc(s.users, func(u pluginapi.User) bool { return u.ID == req.GetId() })
	if i < 0 {
		return nil, status.Errorf(codes.NotFound, "there is no user %q: name it in plugintest.Options.Users", req.GetId())
	}
	return &corev1.GetUserResponse{User: userMessage(s.users[i])}, nil
}

// BatchGetUsers implements corev1.IdentityServer.
func (s *identityServer) BatchGetUsers(ctx context.Context, req *corev1.BatchGetUsersRequest) (
	*corev1.BatchGetUsersResponse, error,
) {
	const most = 100
	if len(req.GetIds()) > most {
		return nil, status.Errorf(codes.InvalidArgument, "ask for at most %d users at a time", most)
	}
	answer := &corev1.BatchGetUsersResponse{}
	for _, id := range req.GetIds() {
		if one, err := s.GetUser(ctx, &corev1.GetUserRequest{Id: id}); err == nil {
			answer.Users = append(answer.Users, one.GetUser())
		}
	}
	return answer, nil
}

// ListUsers implements corev1.IdentityServer.
func (s *identityServer) ListUsers(_ context.Context, req *corev1.ListUsersRequest) (*corev1.ListUsersResponse, error) {
	const usual = 50
	sorted := slices.Clone(s.users)
	slices.SortFunc(sorted, func(a, b pluginapi.User) int { return cmp.Compare(a.Email, b.Email) })
	answer := &corev1.ListUsersResponse{}
	for _, user := range sorted {
		if user.Email <= req.GetPageToken() || !begins(user, req.GetQuery()) {
			continue
		}
		if len(answer.GetUsers()) == cmp.Or(int(req.GetPageSize()), usual) {
			answer.NextPageToken = answer.GetUsers()[len(answer.GetUsers())-1].GetEmail()
			break
		}
		answer.Users = append(answer.Users, userMessage(user))
	}
	return answer, nil
}

func begins(user pluginapi.User, beginning string) bool {
	beginning = strings.ToLower(beginning)
	return strings.HasPrefix(strings.ToLower(user.Email), beginning) || strings.HasPrefix(strings.ToLower(user.Name), beginning)
}

func userMessage(u pluginapi.User) *corev1.User {
	return &corev1.User{
		Id: u.ID, Email: u.Email, Name: u.Name, Disabled: u.Disabled, CreatedAt: timestamppb.New(u.CreatedAt),
	}
}

type authzServer struct {
	corev1.UnimplementedAuthzServer
	*core
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
	answer := &corev1.ListPermissionsResponse{}
	for _, p := range s.manifest.Permissions {
		if holds(who.permissions, p.Name) {
			answer.Permissions = append(answer.Permissions, p.Name)
		}
	}
	slices.Sort(answer.Permissions)
	return answer, nil
}

// subject is who a call is about: the user it names, if that one holds a token here, or whoever sent the request.
func (s *authzServer) subject(ctx context.Context, userID string) (caller, error) {
	if userID != "" {
		found, _ := s.callers.user(userID) // one without a token holds nothing
		return found, nil
	}
	found, known, err := s.onBehalfOf(ctx)
	if err == nil && !known {
		err = status.Error(codes.Unauthenticated, "there is nobody to decide about: use the context of a request, or name a user")
	}
	return found, err
}

func (s *authzServer) decide(ctx context.Context, userID string, permissions ...string) ([]bool, error) {
	who, err := s.subject(ctx, userID)
	if err != nil {
		return nil, err
	}
	allowed := make([]bool, len(permissions))
	for i, permission := range permissions {
		if own, _ := strings.CutPrefix(permission, s.manifest.Name+"."); own != permission && !s.declares(permission) {
			return nil, status.Errorf(codes.NotFound, "module.yaml declares no permission %q", permission)
		}
		allowed[i] = holds(who.permissions, permission)
	}
	return allowed, nil
}

type auditServer struct {
	corev1.UnimplementedAuditServer
	*core
}

// Write implements corev1.AuditServer.
func (s *auditServer) Write(ctx context.Context, req *corev1.WriteRequest) (*corev1.WriteResponse, error) {
	who, _, err := s.onBehalfOf(ctx)
	if err != nil {
		return nil, err
	}
	outcome, ok := map[corev1.Outcome]pluginapi.Outcome{
		corev1.Outcome_OUTCOME_DONE: pluginapi.Done, corev1.Outcome_OUTCOME_DENIED: pluginapi.Denied,
		corev1.Outcome_OUTCOME_FAILED: pluginapi.Failed,
	}[req.GetOutcome()]
	if !ok || req.GetAction() == "" {
		return nil, status.Error(codes.InvalidArgument, "name the action, and say how it ended")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = append(s.written, Written{Principal: who.principal, Action: pluginapi.Action{
		Name: req.GetAction(), Resource: req.GetResource(), Outcome: outcome, Details: req.GetDetails(),
	}})
	return &corev1.WriteResponse{}, nil
}

// cacheServer keeps values in a map; nothing is evicted.
type cacheServer struct {
	corev1.UnimplementedCacheServer

	mu     sync.Mutex // guards values
	values map[string]cached
}

type cached struct {
	value []byte
	until time.Time // zero: for ever
}

func (s *cacheServer) get(key string) ([]byte, bool) {
	found, ok := s.values[key]
	if !ok || !found.until.IsZero() && time.Now().After(found.until) {
		return nil, false
	}
	return found.value, true
}

func (s *cacheServer) set(key string, value []byte, ttl *durationpb.Duration) {
	entry := cached{value: slices.Clone(value)}
	if d := ttl.AsDuration(); d > 0 {
		entry.until = time.Now().Add(d)
	}
	s.values[key] = entry
}

// Get implements corev1.CacheServer.
func (s *cacheServer) Get(_ context.Context, req *corev1.GetRequest) (*corev1.GetResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.get(req.GetKey())
	return &corev1.GetResponse{Found: ok, Value: value}, nil
}

// Set implements corev1.CacheServer.
func (s *cacheServer) Set(_ context.Context, req *corev1.SetRequest) (*corev1.SetResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(req.GetKey(), req.GetValue(), req.GetTtl())
	return &corev1.SetResponse{}, nil
}

// Delete implements corev1.CacheServer.
func (s *cacheServer) Delete(_ context.Context, req *corev1.DeleteRequest) (*corev1.DeleteResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, req.GetKey())
	return &corev1.DeleteResponse{}, nil
}

// Increment implements corev1.CacheServer.
func (s *cacheServer) Increment(_ context.Context, req *corev1.IncrementRequest) (*corev1.IncrementResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	have, ok := s.get(req.GetKey())
	if !ok {
		s.set(req.GetKey(), strconv.AppendInt(nil, req.GetDelta(), 10), req.GetTtl())
		return &corev1.IncrementResponse{Value: req.GetDelta()}, nil
	}
	n, err := strconv.ParseInt(string(have), 10, 64)
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "%q is no whole number", req.GetKey())
	}
	if d := req.GetDelta(); d > 0 && n > math.MaxInt64-d || d < 0 && n < math.MinInt64-d {
		return nil, status.Errorf(codes.OutOfRange, "%q would not fit 64 bits", req.GetKey())
	}
	entry := s.values[req.GetKey()]
	entry.value = strconv.AppendInt(nil, n+req.GetDelta(), 10)
	s.values[req.GetKey()] = entry
	return &corev1.IncrementResponse{Value: n + req.GetDelta()}, nil
}

// CompareAndSet implements corev1.CacheServer.
func (s *cacheServer) CompareAndSet(_ context.Context, req *corev1.CompareAndSetRequest) (*corev1.CompareAndSetResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	have, ok := s.get(req.GetKey())
	if ok != (req.Expected != nil) || !bytes.Equal(have, req.GetExpected()) { //nolint:protogetter // whether it is there
		return &corev1.CompareAndSetResponse{}, nil
	}
	s.set(req.GetKey(), req.GetValue(), req.GetTtl())
	return &corev1.CompareAndSetResponse{Swapped: true}, nil
}

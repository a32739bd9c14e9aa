package pluginapi

import (
	"context"
	"fmt"
	"time"

	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// Identity tells who the platform's users are. It needs grants: { identity: [read] }, and is safe for concurrent use.
type Identity struct{ client corev1.IdentityClient }

// User is one of the platform's users.
type User struct {
	ID        string
	Email     string
	Name      string
	Disabled  bool // may not sign in
	CreatedAt time.Time
}

// UserPage is a part of a list of users. Next is the Page of the part that follows, empty in the last one.
type UserPage struct {
	Users []User
	Next  string
}

// UserQuery chooses users. The zero value is the first 50 of all.
type UserQuery struct {
	Beginning string // of an email address or a name
	Limit     int    // at most 500
	Page      string // Next of the part before
}

// GetUser returns one user. Errors: codes.NotFound.
func (i *Identity) GetUser(ctx context.Context, id string) (User, error) {
	answer, err := i.client.GetUser(ctx, &corev1.GetUserRequest{Id: id})
	if err != nil {
		return User{}, fmt.Errorf("get user %s: %w", id, err)
	}
	return userOf(answer.GetUser()), nil
}

// BatchGetUsers returns those of at most 100 users that there are, in the order asked for.
func (i *Identity) BatchGetUsers(ctx context.Context, ids []string) ([]User, error) {
	answer, err := i.client.BatchGetUsers(ctx, &corev1.BatchGetUsersRequest{Ids: ids})
	if err != nil {
		return nil, fmt.Errorf("get %d users: %w", len(ids), err)
	}
	return usersOf(answer.GetUsers()), nil
}

// ListUsers returns users by their email addresses.
func (i *Identity) ListUsers(ctx context.Context, q UserQuery) (UserPage, error) {
	answer, err := i.client.ListUsers(ctx, &corev1.ListUsersRequest{
		PageSize: int32(min(q.Limit, 1<<30)), PageToken: q.Page, Query: q.Beginning, //nolint:gosec // bounded here
	})
	if err != nil {
		return UserPage{}, fmt.Errorf("list users: %w", err)
	}
	return UserPage{Users: usersOf(answer.GetUsers()), Next: answer.GetNextPageToken()}, nil
}

func usersOf(sent []*corev1.User) []User {
	users := make([]User, len(sent))
	for i, u := range sent {
		users[i] = userOf(u)
	}
	return users
}

func userOf(u *corev1.User) User {
	return User{
		ID: u.GetId(), Email: u.GetEmail(), Name: u.GetName(), Disabled: u.GetDisabled(), CreatedAt: u.GetCreatedAt().AsTime(),
	}
}

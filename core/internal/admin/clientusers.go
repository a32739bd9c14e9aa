package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/identity"
)

// change is call for what is answered by nothing but that it is done.
func (c *Client) change(ctx context.Context, method, path string, body any) error {
	_, err := call[struct{}](ctx, c, request{method: method, path: path, body: body})
	return err
}

// userPath is the path of a user, whom an id or an e-mail address names, and of what is the user's.
func userPath(user string, below string) string { return "/v1/users/" + url.PathEscape(user) + below }

// Users returns a page of the users, in the order in which they were made.
func (c *Client) Users(ctx context.Context, q UserQuery) (Page[identity.User], error) {
	values := url.Values{}
	if q.Query != "" {
		values.Set("query", q.Query)
	}
	if q.Limit != 0 {
		values.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.After != "" {
		values.Set("after", q.After)
	}
	return call[Page[identity.User]](ctx, c, request{method: http.MethodGet, path: "/v1/users?" + values.Encode()})
}

// User returns a user by id or e-mail address, as the other calls take one, too. Where there is none, the error is a problem with
// the status 404.
func (c *Client) User(ctx context.Context, user string) (User, error) {
	return call[User](ctx, c, request{method: http.MethodGet, path: userPath(user, "")})
}

// CreateUser makes a user.
func (c *Client) CreateUser(ctx context.Context, u NewUser) (identity.User, error) {
	return call[identity.User](ctx, c, request{method: http.MethodPost, path: "/v1/users", body: u})
}

// InviteUser makes a user without a password, and a link by which they choose one.
func (c *Client) InviteUser(ctx context.Context, email, name string) (Invitation, error) {
	body := map[string]string{"email": email, "name": name}
	return call[Invitation](ctx, c, request{method: http.MethodPost, path: "/v1/users/invite", body: body})
}

// UpdateUser changes address or name.
func (c *Client) UpdateUser(ctx context.Context, user string, change UserChange) (identity.User, error) {
	return call[identity.User](ctx, c, request{method: http.MethodPatch, path: userPath(user, ""), body: change})
}

// DeleteUser removes a user for good.
func (c *Client) DeleteUser(ctx context.Context, user string) error {
	return c.change(ctx, http.MethodDelete, userPath(user, ""), nil)
}

// EnableUser lets a user in again.
func (c *Client) EnableUser(ctx context.Context, user string) error {
	return c.change(ctx, http.MethodPost, userPath(user, "/enable"), nil)
}

// DisableUser keeps a user out.
func (c *Client) DisableUser(ctx context.Context, user string) error {
	return c.change(ctx, http.MethodPost, userPath(user, "/disable"), nil)
}

// SetPassword gives a user another password, and ends their sessions.
func (c *Client) SetPassword(ctx context.Context, user, password string) error {
	return c.change(ctx, http.MethodPut, userPath(user, "/password"), map[string]string{"password": password})
}

// ResetPassword makes a link by which a user chooses another password.
func (c *Client) ResetPassword(ctx context.Context, user string) (Link, error) {
	return call[Link](ctx, c, request{method: http.MethodPost, path: userPath(user, "/reset")})
}

// Sessions returns the sessions of a user that go on, the last used first.
func (c *Client) Sessions(ctx context.Context, user string) ([]auth.Session, error) {
	found, err := call[list[auth.Session]](ctx, c, request{method: http.MethodGet, path: userPath(user, "/sessions")})
	return found.Items, err
}

// EndSession signs a user out of one session.
func (c *Client) EndSession(ctx context.Context, user, session string) error {
	return c.change(ctx, http.MethodDelete, userPath(user, "/sessions/"+url.PathEscape(session)), nil)
}

// EndSessions signs a user out everywhere.
func (c *Client) EndSessions(ctx context.Context, user string) error {
	return c.change(ctx, http.MethodDelete, userPath(user, "/sessions"), nil)
}

// Tokens returns the API tokens of a user, or all if owner is "", without their secrets.
func (c *Client) Tokens(ctx context.Context, owner string) ([]Token, error) {
	path := "/v1/tokens"
	if owner != "" {
		path += "?owner=" + url.QueryEscape(owner)
	}
	tokens, err := call[list[Token]](ctx, c, request{method: http.MethodGet, path: path})
	return tokens.Items, err
}

// CreateToken makes an API token.
func (c *Client) CreateToken(ctx context.Context, token NewToken) (CreatedToken, error) {
	return call[CreatedToken](ctx, c, request{method: http.MethodPost, path: "/v1/tokens", body: token})
}

// RevokeToken ends a token; for an unknown id the error is a problem with the status 404.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.change(ctx, http.MethodDelete, "/v1/tokens/"+url.PathEscape(id), nil)
}

// RotateKeys replaces the keys that sign access tokens; what the old ones signed stays valid until it expires.
func (c *Client) RotateKeys(ctx context.Context) error {
	return c.change(ctx, http.MethodPost, "/v1/keys/rotate", nil)
}

// SetupLink makes a link by which whoever has it becomes the first user. Once there are users, the error is a problem with the
// status 409.
func (c *Client) SetupLink(ctx context.Context) (Link, error) {
	return call[Link](ctx, c, request{method: http.MethodPost, path: "/v1/setup-link"})
}

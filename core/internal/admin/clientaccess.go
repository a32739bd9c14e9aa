package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/authz"
)

func rolePath(role, below string) string   { return "/v1/roles/" + url.PathEscape(role) + below }
func groupPath(group, below string) string { return "/v1/groups/" + url.PathEscape(group) + below }

// Roles returns every role, sorted by name.
func (c *Client) Roles(ctx context.Context) ([]authz.Role, error) {
	roles, err := call[list[authz.Role]](ctx, c, request{method: http.MethodGet, path: "/v1/roles"})
	return roles.Items, err
}

// Role returns one role. Where there is none, the error is a problem with the status 404.
func (c *Client) Role(ctx context.Context, role string) (Role, error) {
	return call[Role](ctx, c, request{method: http.MethodGet, path: rolePath(role, "")})
}

// CreateRole makes a role that allows nothing yet.
func (c *Client) CreateRole(ctx context.Context, role NewRole) (authz.Role, error) {
	return call[authz.Role](ctx, c, request{method: http.MethodPost, path: "/v1/roles", body: role})
}

// DeleteRole deletes a role; those who have it lose it.
func (c *Client) DeleteRole(ctx context.Context, role string) error {
	return c.change(ctx, http.MethodDelete, rolePath(role, ""), nil)
}

// Grant lets a role allow more.
func (c *Client) Grant(ctx context.Context, role string, permissions ...string) (authz.Role, error) {
	return c.editRole(ctx, rolePath(role, "/grant"), permissions)
}

// Revoke lets a role allow less.
func (c *Client) Revoke(ctx context.Context, role string, permissions ...string) (authz.Role, error) {
	return c.editRole(ctx, rolePath(role, "/revoke"), permissions)
}

func (c *Client) editRole(ctx context.Context, path string, permissions []string) (authz.Role, error) {
	body := map[string][]string{"permissions": permissions}
	return call[authz.Role](ctx, c, request{method: http.MethodPost, path: path, body: body})
}

// Assign gives a role to users and groups.
func (c *Client) Assign(ctx context.Context, role string, to Subjects) error {
	return c.change(ctx, http.MethodPost, rolePath(role, "/assign"), to)
}

// Unassign takes a role from users and groups.
func (c *Client) Unassign(ctx context.Context, role string, from Subjects) error {
	return c.change(ctx, http.MethodPost, rolePath(role, "/unassign"), from)
}

// Groups returns every group, sorted by name.
func (c *Client) Groups(ctx context.Context) ([]authz.Group, error) {
	groups, err := call[list[authz.Group]](ctx, c, request{method: http.MethodGet, path: "/v1/groups"})
	return groups.Items, err
}

// Group returns one group. Where there is none, the error is a problem with the status 404.
func (c *Client) Group(ctx context.Context, group string) (Group, error) {
	return call[Group](ctx, c, request{method: http.MethodGet, path: groupPath(group, "")})
}

// CreateGroup makes an empty group.
func (c *Client) CreateGroup(ctx context.Context, group NewRole) (authz.Group, error) {
	return call[authz.Group](ctx, c, request{method: http.MethodPost, path: "/v1/groups", body: group})
}

// DeleteGroup deletes a group; its members lose what they have through it.
func (c *Client) DeleteGroup(ctx context.Context, group string) error {
	return c.change(ctx, http.MethodDelete, groupPath(group, ""), nil)
}

// AddMembers puts users into a group.
func (c *Client) AddMembers(ctx context.Context, group string, users ...string) error {
	return c.change(ctx, http.MethodPost, groupPath(group, "/add"), Subjects{Users: users})
}

// RemoveMembers takes users out of a group.
func (c *Client) RemoveMembers(ctx context.Context, group string, users ...string) error {
	return c.change(ctx, http.MethodPost, groupPath(group, "/remove"), Subjects{Users: users})
}

// Permissions returns all permissions that there are.
func (c *Client) Permissions(ctx context.Context) (Permissions, error) {
	return call[Permissions](ctx, c, request{method: http.MethodGet, path: "/v1/permissions"})
}

// Check tells whether a user may do something, and why.
func (c *Client) Check(ctx context.Context, user, permission string) (Check, error) {
	values := url.Values{"subject": {user}, "permission": {permission}}
	return call[Check](ctx, c, request{method: http.MethodGet, path: "/v1/authz/check?" + values.Encode()})
}

// Audit returns a page of audit rows. The filter's fields travel as the parameters actor, via, action, resource, outcome,
// request_id, from, to (RFC 3339), limit, after (a sequence number) and order (newest or oldest).
func (c *Client) Audit(ctx context.Context, f audit.Filter) (Page[audit.Row], error) {
	return call[Page[audit.Row]](ctx, c, request{method: http.MethodGet, path: "/v1/audit?" + encodeFilter(f)})
}

// TailAudit calls each with every row after the one with the number after, and with those that come, until ctx ends, the daemon
// stops (nil), or each returns an error.
func (c *Client) TailAudit(ctx context.Context, after int64, each func(audit.Row) error) error {
	resp, err := c.send(ctx, request{method: http.MethodGet, path: "/v1/audit/tail?after=" + strconv.FormatInt(after, 10)})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return eachLine(resp.Body, each)
}

// ExportAudit copies every row that matches, as one line of JSON each. An answer that breaks off is an error.
func (c *Client) ExportAudit(ctx context.Context, w io.Writer, f audit.Filter) error {
	resp, err := c.patient().send(ctx, request{method: http.MethodGet, path: "/v1/audit/export?" + encodeFilter(f)})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("read the audit log: %w (fix: what is there is not all: see `platformd logs`, and export again)", err)
	}
	return nil
}

// VerifyAudit reads the whole chain and finds what was changed afterwards. It takes as long as the chain is.
func (c *Client) VerifyAudit(ctx context.Context, want audit.Expect) (report audit.Report, err error) {
	path := "/v1/audit/verify"
	if want.Seq != 0 {
		path += "?expect=" + url.QueryEscape(want.String())
	}
	return ask[audit.Report](ctx, c.patient(), request{method: http.MethodGet, path: path})
}

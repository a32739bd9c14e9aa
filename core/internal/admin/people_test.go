package admin

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/identity"
)

const passphrase = "correct horse battery"

func pointer[T any](value T) *T { return &value }

func TestUserFromBeginningToEnd(t *testing.T) {
	t.Parallel()
	s, ctx := start(t), t.Context()
	made, err := s.CreateUser(ctx, NewUser{Email: "Ada@Example.com", Name: "Ada", Password: pointer(passphrase), Admin: true})
	require.NoError(t, err)
	require.Equal(t, "ada@example.com", made.Email)
	shown, err := s.User(ctx, "ADA@example.com")
	require.NoError(t, err)
	require.Equal(t, made.ID, shown.ID)
	require.Equal(t, []string{authz.Admin}, shown.Roles)
	require.Empty(t, shown.Groups)
	_, err = s.CreateUser(ctx, NewUser{Email: "ada@example.com"})
	requireProblem(t, err, http.StatusConflict, "already_exists")
	_, err = s.CreateUser(ctx, NewUser{Email: "bob@example.com", Password: pointer("short")})
	requireProblem(t, err, http.StatusBadRequest, "invalid_argument")

	updated, err := s.UpdateUser(ctx, made.ID, UserChange{Name: pointer("Ada L."), Email: pointer("a/da@example.com")})
	require.NoError(t, err)
	require.Equal(t, "Ada L.", updated.Name)
	login := func(password string) (auth.Tokens, error) {
		return s.tokens.Login(ctx, auth.Login{Email: updated.Email, Password: password, Address: "127.0.0.1"})
	}
	_, err = login(passphrase)
	require.NoError(t, err)
	sessions, err := s.Sessions(ctx, updated.Email) // a slash in it, too
	require.NoError(t, err)
	require.Len(t, sessions, 1)
	require.NoError(t, s.EndSession(ctx, made.ID, sessions[0].ID))
	requireProblem(t, s.EndSession(ctx, made.ID, sessions[0].ID), http.StatusNotFound, "not_found")
	_, err = login(passphrase)
	require.NoError(t, err)
	require.NoError(t, s.SetPassword(ctx, made.ID, "another passphrase"))
	sessions, err = s.Sessions(ctx, made.ID)
	require.NoError(t, err)
	require.Empty(t, sessions, "another password ends them")
	_, err = login("another passphrase")
	require.NoError(t, err)
	require.NoError(t, s.EndSessions(ctx, made.ID))

	require.Contains(t, requireProblem(t, s.DisableUser(ctx, made.ID), http.StatusConflict, "failed_precondition"), "role admin")
	requireProblem(t, s.DeleteUser(ctx, made.ID), http.StatusConflict, "failed_precondition")
	_, err = s.CreateUser(ctx, NewUser{Email: "second@example.com", Admin: true})
	require.NoError(t, err)
	require.NoError(t, s.DisableUser(ctx, made.ID))
	_, err = login("another passphrase")
	require.Error(t, err)
	_, err = s.ResetPassword(ctx, made.ID)
	requireProblem(t, err, http.StatusConflict, "failed_precondition")
	require.NoError(t, s.EnableUser(ctx, made.ID))
	require.NoError(t, s.DeleteUser(ctx, made.ID))
	_, err = s.User(ctx, made.ID)
	require.Contains(t, requireProblem(t, err, http.StatusNotFound, "not_found"), made.ID)
	left, err := s.authz.AssignmentsOf(ctx, authz.ToUser(made.ID))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestUsersComeInPages(t *testing.T) {
	t.Parallel()
	s, ctx := start(t), t.Context()
	for _, name := range []string{"a1", "a2", "a3", "b1"} {
		_, err := s.CreateUser(ctx, NewUser{Email: name + "@example.com"})
		require.NoError(t, err)
	}
	first, err := s.Users(ctx, UserQuery{Query: "a", Limit: 2})
	require.NoError(t, err)
	require.Len(t, first.Items, 2)
	second, err := s.Users(ctx, UserQuery{Query: "a", Limit: 2, After: first.Next})
	require.NoError(t, err)
	require.Len(t, second.Items, 1)
	require.Empty(t, second.Next)
	require.Equal(t, "a3@example.com", second.Items[0].Email)
	_, err = s.Users(ctx, UserQuery{Limit: 501})
	requireProblem(t, err, http.StatusBadRequest, "invalid_argument")
}

func TestLinks(t *testing.T) {
	t.Parallel()
	s, ctx := start(t), t.Context()
	setup, err := s.SetupLink(ctx)
	require.NoError(t, err)
	before, secret, found := strings.Cut(setup.URL, "=")
	require.True(t, found)
	require.Equal(t, "http://platform.test/api/v1/platform/setup?token", before)
	opens, err := s.users.CheckLink(ctx, secret)
	require.NoError(t, err)
	require.Equal(t, identity.OpenLink{Purpose: identity.PurposeSetup}, opens)

	invited, err := s.InviteUser(ctx, "ada@example.com", "Ada")
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(7*24*time.Hour), invited.ExpiresAt, time.Minute)
	secret, found = strings.CutPrefix(invited.URL, "http://platform.test/api/v1/platform/password?token=")
	require.True(t, found, invited.URL)
	_, err = s.users.Accept(ctx, secret, passphrase)
	require.NoError(t, err)
	reset, err := s.ResetPassword(ctx, invited.User.ID)
	require.NoError(t, err)
	secret, found = strings.CutPrefix(reset.URL, "http://platform.test/api/v1/platform/password?token=")
	require.True(t, found, reset.URL)
	_, err = s.users.Accept(ctx, secret, passphrase)
	require.NoError(t, err)

	_, err = s.SetupLink(ctx)
	requireProblem(t, err, http.StatusConflict, "failed_precondition")
	for _, row := range s.rows(t) { // whoever reads the log must not be able to use a link
		require.NotContains(t, string(row.Details), secret)
	}
}

func TestRolesAndGroups(t *testing.T) {
	t.Parallel()
	s, ctx := start(t), t.Context()
	ada, err := s.CreateUser(ctx, NewUser{Email: "ada@example.com", Name: "Ada"})
	require.NoError(t, err)
	_, err = s.CreateRole(ctx, NewRole{Name: "editor", Description: "Edits"})
	require.NoError(t, err)
	_, err = s.CreateRole(ctx, NewRole{Name: "editor"})
	requireProblem(t, err, http.StatusConflict, "already_exists")
	role, err := s.Grant(ctx, "editor", "blog.post.create", "blog.post.read")
	require.NoError(t, err)
	require.Len(t, role.Patterns, 2)
	_, err = s.Grant(ctx, "editor", "blog.post.raed")
	require.Contains(t, requireProblem(t, err, http.StatusBadRequest, "invalid_argument"), "blog.post.read")
	_, err = s.Grant(ctx, "editro", "blog.post.read")
	require.Contains(t, requireProblem(t, err, http.StatusNotFound, "not_found"), "editor")
	_, err = s.Grant(ctx, authz.Admin, "blog.post.read")
	requireProblem(t, err, http.StatusConflict, "failed_precondition")

	_, err = s.CreateGroup(ctx, NewRole{Name: "staff"})
	require.NoError(t, err)
	require.NoError(t, s.AddMembers(ctx, "staff", ada.Email))
	requireProblem(t, s.AddMembers(ctx, "staff", "nobody@example.com"), http.StatusNotFound, "not_found")
	require.NoError(t, s.Assign(ctx, "editor", Subjects{Groups: []string{"staff"}}))
	requireProblem(t, s.Assign(ctx, "editor", Subjects{}), http.StatusBadRequest, "invalid_argument")
	group, err := s.Group(ctx, "staff")
	require.NoError(t, err)
	require.Equal(t, []string{"editor"}, group.Roles)
	require.Equal(t, []Member{{ID: ada.ID, Email: ada.Email, Name: "Ada"}}, group.Users)
	shown, err := s.Role(ctx, "editor")
	require.NoError(t, err)
	require.Equal(t, []RoleHolder{{Kind: "group", ID: "staff"}}, shown.Holders)

	answer, err := s.Check(ctx, ada.Email, "blog.post.create")
	require.NoError(t, err)
	require.True(t, answer.Allowed)
	require.Equal(t, "editor", answer.Role)
	require.Equal(t, "staff", answer.Via)
	_, err = s.Revoke(ctx, "editor", "blog.post.create")
	require.NoError(t, err)
	answer, err = s.Check(ctx, ada.ID, "blog.post.create")
	require.NoError(t, err)
	require.False(t, answer.Allowed)
	require.Contains(t, answer.Text, "ada@example.com has no role")
	require.NoError(t, s.RemoveMembers(ctx, "staff", ada.ID))
	require.NoError(t, s.Unassign(ctx, "editor", Subjects{Groups: []string{"staff"}}))
	require.NoError(t, s.DeleteGroup(ctx, "staff"))
	_, err = s.Group(ctx, "staff")
	requireProblem(t, err, http.StatusNotFound, "not_found")
	require.NoError(t, s.DeleteRole(ctx, "editor"))
	_, err = s.Role(ctx, "editor")
	requireProblem(t, err, http.StatusNotFound, "not_found")
	groups, err := s.Groups(ctx)
	require.NoError(t, err)
	require.Empty(t, groups)
}

func TestPermissionsKnowTheirRoles(t *testing.T) {
	t.Parallel()
	s, ctx := start(t), t.Context()
	_, err := s.CreateRole(ctx, NewRole{Name: "editor"})
	require.NoError(t, err)
	_, err = s.Grant(ctx, "editor", "blog.*")
	require.NoError(t, err)
	found, err := s.Permissions(ctx)
	require.NoError(t, err)
	var read authz.Permission
	for _, p := range found.Items {
		if p.Name == "blog.post.read" {
			read = p
		}
	}
	require.Equal(t, authz.Permission{
		Name: "blog.post.read", Module: "blog", Description: "Read posts", Roles: []string{"admin", "editor", "member"},
	}, read)
	require.Empty(t, found.Orphans.Patterns)
	s.authz.Registry.Remove("blog")
	found, err = s.Permissions(ctx)
	require.NoError(t, err)
	require.Equal(t, []authz.OrphanPattern{{Role: "editor", Pattern: "blog.*"}}, found.Orphans.Patterns)
}

// A disabled user may do nothing, whatever the roles say.
func TestCheckOfADisabledUser(t *testing.T) {
	t.Parallel()
	s, ctx := start(t), t.Context()
	u := s.person(t, "ada", "blog.post.read")
	require.NoError(t, s.DisableUser(ctx, u.ID))
	answer, err := s.Check(ctx, u.ID, "blog.post.read")
	require.NoError(t, err)
	require.False(t, answer.Allowed)
	require.Contains(t, answer.Text, "disabled")
	for _, query := range []string{"subject=ada@example.com", "permission=blog.post.read", "subject=x&permission=blog.*"} {
		resp, _ := s.raw(t, http.MethodGet, "/v1/authz/check?"+query, "")
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, query)
	}
}

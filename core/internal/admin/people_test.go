package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/core/internal/logs"
	"github.com/platformd/platformd/plugin-api/link"
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

// rows are all that the audit log has, the oldest first.
func (s *server) rows(t *testing.T) []audit.Row {
	t.Helper()
	rows, err := s.audit.Search(t.Context(), audit.Filter{OldestFirst: true, Limit: audit.MaxLimit})
	require.NoError(t, err)
	return rows
}

func TestChangesAreWrittenDown(t *testing.T) {
	t.Parallel()
	s, ctx := start(t), t.Context()
	ada, err := s.CreateUser(ctx, NewUser{Email: "ada@example.com", Password: pointer(passphrase)})
	require.NoError(t, err)
	_, err = s.CreateRole(ctx, NewRole{Name: "editor"})
	require.NoError(t, err)
	_, err = s.Grant(ctx, "editor", "platform.role.*")
	require.NoError(t, err)
	require.NoError(t, s.Assign(ctx, "editor", Subjects{Users: []string{ada.ID}}))
	_, err = s.Grant(ctx, "absent", "blog.*")
	require.Error(t, err, "a mistake changes nothing, and leaves no row")
	_, err = s.Order(ctx, "blog", OrderRestart)
	require.NoError(t, err)
	require.NoError(t, s.RotateKeys(ctx))
	got := s.through(t, session(ada), "POST /roles/editor/revoke", `{"permissions":["platform.role.*"]}`)
	require.Equal(t, http.StatusOK, got.status, got.body)

	type said struct{ actor, action, resource, outcome, request, address string }
	var all []said
	for _, r := range s.rows(t) {
		require.NotContains(t, string(r.Details), passphrase)
		all = append(all, said{r.Actor.Kind + "/" + r.Actor.ID, r.Action, r.Resource, string(r.Outcome), r.RequestID, r.Address})
	}
	op, done := "operator/control", "done"
	require.Equal(t, []said{
		{op, "user.create", "user/" + ada.ID, done, "", ""},
		{op, "role.create", "role/editor", done, "", ""},
		{op, "role.grant", "role/editor", done, "", ""},
		{op, "role.assign", "role/editor", done, "", ""},
		{op, "module.restart", "module/blog", done, "", ""},
		{op, "key.rotate", "key", done, "", ""},
		{"user/" + ada.ID, "role.revoke", "role/editor", done, "request-1", "203.0.113.9"},
	}, all)
	require.JSONEq(t, `{"permissions":"platform.role.*"}`, string(s.rows(t)[2].Details))
}

// Refusals are written as soon as there is room for them: nobody waits.
func TestRefusalsAreWrittenDown(t *testing.T) {
	t.Parallel()
	s := start(t)
	clerk := s.person(t, "clerk", "platform.role.manage")
	require.NoError(t, s.authz.CreateRole(t.Context(), "weak", ""))
	require.Equal(t, http.StatusForbidden, s.through(t, session(clerk), "POST /roles/weak/grant", `{"permissions":["*"]}`).status)
	require.Eventually(t, func() bool { return len(s.rows(t)) == 1 }, deadline, time.Millisecond)
	row := s.rows(t)[0]
	require.Equal(t, audit.Denied, row.Outcome)
	require.Equal(t, "role.grant", row.Action)
	require.Equal(t, link.Principal{Kind: link.KindUser, ID: clerk.ID, Name: "clerk"}, row.Actor)
}

// What is done stays done where the audit log cannot be written, and the daemon's log says so.
func TestAuditOutage(t *testing.T) {
	t.Parallel()
	s := startWith(t, func(d *Deps) {
		ended, cancel := context.WithCancel(t.Context())
		closed, err := audit.New(t.Context(), mustStorage(t), audit.Options{})
		require.NoError(t, err)
		cancel()
		require.NoError(t, closed.Run(ended))
		d.Audit = closed
	})
	_, err := s.CreateRole(t.Context(), NewRole{Name: "editor"})
	require.NoError(t, err)
	_, err = s.Role(t.Context(), "editor")
	require.NoError(t, err)
	records := s.log.Store.Tail(logs.Filter{})
	require.Equal(t, "the audit log misses what was done", records[len(records)-1].Message)
}

func TestAuditSearch(t *testing.T) {
	t.Parallel()
	s, ctx := start(t), t.Context()
	for _, role := range []string{"a", "b", "c"} {
		_, err := s.CreateRole(ctx, NewRole{Name: role})
		require.NoError(t, err)
	}
	first, err := s.Audit(ctx, audit.Filter{Limit: 2})
	require.NoError(t, err)
	require.Equal(t, []string{"role/c", "role/b"}, resources(first.Items))
	require.Equal(t, "2", first.Next)
	second, err := s.Audit(ctx, audit.Filter{Limit: 2, AfterSeq: 2})
	require.NoError(t, err)
	require.Equal(t, []string{"role/a"}, resources(second.Items))
	require.Empty(t, second.Next)
	whole, err := s.Audit(ctx, audit.Filter{Limit: 3, OldestFirst: true})
	require.NoError(t, err)
	require.Equal(t, []string{"role/a", "role/b", "role/c"}, resources(whole.Items))
	require.Empty(t, whole.Next)
	now := time.Now()
	for want, f := range map[int]audit.Filter{
		1: {
			Resource: "role/b", Action: "role.", Outcome: audit.Done, Actor: "operator",
			From: now.Add(-time.Hour), To: now.Add(time.Hour),
		},
		0: {Actor: "nobody", Via: "blog", RequestID: "x"},
	} {
		found, err := s.Audit(ctx, f)
		require.NoError(t, err)
		require.Len(t, found.Items, want, "%v", f)
	}
	for _, query := range []string{
		"limit=0", "limit=1001", "limit=x", "after=-1", "order=up", "outcome=fine", "from=today", "actr=x",
	} {
		resp, body := s.raw(t, http.MethodGet, "/v1/audit?"+query, "")
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, "%s: %s", query, body)
	}
}

func resources(rows []audit.Row) (all []string) {
	for _, r := range rows {
		all = append(all, r.Resource)
	}
	return all
}

func TestAuditTail(t *testing.T) {
	t.Parallel()
	s := start(t)
	_, err := s.CreateRole(t.Context(), NewRole{Name: "before"})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	rows, ended := make(chan audit.Row, 10), make(chan error, 1)
	go func() { ended <- s.TailAudit(ctx, 0, func(r audit.Row) error { rows <- r; return nil }) }()
	require.Equal(t, "role/before", receive(t, rows).Resource)
	_, err = s.CreateRole(t.Context(), NewRole{Name: "after"})
	require.NoError(t, err)
	require.Equal(t, "role/after", receive(t, rows).Resource)
	cancel()
	require.ErrorIs(t, receive(t, ended), context.Canceled)
}

func TestAuditExport(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, role := range []string{"a", "b"} {
		_, err := s.CreateRole(t.Context(), NewRole{Name: role})
		require.NoError(t, err)
	}
	var out bytes.Buffer
	require.NoError(t, s.ExportAudit(t.Context(), &out, audit.Filter{OldestFirst: true}))
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	require.Len(t, lines, 2)
	var row audit.Row
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &row))
	require.Equal(t, s.rows(t)[1], row)
}

func TestAuditVerify(t *testing.T) {
	t.Parallel()
	s, ctx := start(t), t.Context()
	for _, role := range []string{"a", "b"} {
		_, err := s.CreateRole(ctx, NewRole{Name: role})
		require.NoError(t, err)
	}
	report, err := s.VerifyAudit(ctx, audit.Expect{})
	require.NoError(t, err)
	require.True(t, report.OK)
	require.EqualValues(t, 2, report.Rows)
	report, err = s.VerifyAudit(ctx, report.Head)
	require.NoError(t, err)
	require.True(t, report.OK)
	resp, _ := s.raw(t, http.MethodGet, "/v1/audit/verify?expect=2", "")
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)

	require.NoError(t, s.storage.Core().Exec("UPDATE audit_rows SET actor_name = 'nobody' WHERE seq = 1").Error)
	report, err = s.VerifyAudit(ctx, audit.Expect{})
	require.NoError(t, err)
	require.False(t, report.OK)
	require.EqualValues(t, 1, report.Broken.Seq)
}

// Half an answer must not look like a whole one.
func TestWhatBreaksOffIsSeenToBeIncomplete(t *testing.T) {
	t.Parallel()
	s := start(t)
	a := &api{deps: s.api}
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("{}\n"))
		if r.URL.Path == "/half" {
			a.breakOff(w, r, errors.New("the database is gone"))
		}
	}))
	defer half.Close()
	read := func(path string) error {
		resp, err := half.Client().Get(half.URL + path)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		return err
	}
	require.NoError(t, read("/whole"))
	require.Error(t, read("/half"))
}

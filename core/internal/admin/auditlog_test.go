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
	"github.com/platformd/platformd/core/internal/logs"
	"github.com/platformd/platformd/plugin-api/link"
)

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

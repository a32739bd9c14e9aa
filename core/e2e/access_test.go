package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	adminEmail = "root@example.com"
	goodWords  = "correct horse battery staple"
	api        = "/api/v1/platform"
)

// setupPath is the path of the setup link that the daemon printed.
func (p *platform) setupPath() string {
	p.t.Helper()
	link := regexp.MustCompile(`http://[^"\s]+` + api + `(/setup\?token=[A-Za-z0-9_-]+)`)
	var found []string
	p.await("the setup link", func() bool { found = link.FindStringSubmatch(p.log.String()); return found != nil })
	return api + found[1]
}

// send posts a value as JSON.
func (p *platform) send(method, path, token string, value any) answer {
	p.t.Helper()
	body, err := json.Marshal(value)
	require.NoError(p.t, err)
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, strings.NewReader(string(body)))
	require.NoError(p.t, err)
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return p.roundTrip(req)
}

// setUp makes the first administrator by the link that the daemon printed.
func (p *platform) setUp() {
	p.t.Helper()
	link, err := url.Parse(p.setupPath())
	require.NoError(p.t, err)
	made := p.send(http.MethodPost, api+"/setup", "", map[string]string{
		"token": link.Query().Get("token"), "email": adminEmail, "name": "Root", "password": goodWords,
	})
	require.Equal(p.t, http.StatusCreated, made.status, made.body)
}

type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Expires int    `json:"expires_in"`
}

// login signs somebody in.
func (p *platform) login(email, password string) (signed tokens) {
	p.t.Helper()
	got := p.send(http.MethodPost, api+"/auth/login", "", map[string]string{"email": email, "password": password})
	require.Equal(p.t, http.StatusOK, got.status, got.body)
	got.decode(p.t, &signed)
	return signed
}

// ok sends a request that must succeed, and returns its JSON.
func (p *platform) ok(method, path, token string, value any) map[string]any {
	p.t.Helper()
	got := p.send(method, path, token, value)
	require.Less(p.t, got.status, 300, "%s %s: %s", method, path, got.body)
	var decoded map[string]any
	if got.body != "" {
		got.decode(p.t, &decoded)
	}
	return decoded
}

// TestAccessTour is what a new user does: from the setup link to a permission that is taken away again.
func TestAccessTour(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"billing", "blog"}})

	form := p.do(http.MethodGet, p.setupPath(), "", "")
	require.Equal(t, http.StatusOK, form.status)
	require.Contains(t, form.body, "<form")
	require.Contains(t, form.header.Get("Content-Security-Policy"), "default-src 'none'")
	p.setUp()
	require.Equal(t, http.StatusForbidden, p.do(http.MethodGet, p.setupPath(), "", "").status, "the link works once")

	admin := p.login(adminEmail, goodWords).Access
	p.ok(http.MethodPost, api+"/roles", admin, map[string]any{"name": "writer"})
	p.ok(http.MethodPost, api+"/roles/writer/grant", admin, map[string]any{"permissions": []string{"blog.post.create"}})
	bob, _ := p.ok(http.MethodPost, api+"/users", admin, map[string]any{
		"email": "Bob@Example.com", "name": "Bob", "password": goodWords,
	})["id"].(string)
	require.NotEmpty(t, bob)
	p.ok(http.MethodPost, api+"/roles/writer/assign", admin, map[string]any{"users": []string{"bob@example.com"}})

	signed := p.login("bob@example.com", goodWords)
	post := p.send(http.MethodPost, "/api/v1/blog/posts", signed.Access, map[string]string{"title": "Hello", "body": "World"})
	require.Equal(t, http.StatusCreated, post.status, post.body)
	var written struct{ ID, Author, AuthorID string }
	post.decode(t, &written)
	require.Contains(t, post.body, `"author":"Bob","author_id":"`+bob+`"`)
	denied := p.do(http.MethodDelete, "/api/v1/blog/posts/"+written.ID, signed.Access, "")
	require.Equal(t, http.StatusForbidden, denied.status)
	require.Contains(t, denied.body, "blog.post.delete", "it names what is missing")
	require.Equal(t, http.StatusForbidden, p.send(http.MethodPost, api+"/roles", signed.Access, map[string]any{"name": "x"}).status)

	p.ok(http.MethodPost, api+"/roles/writer/revoke", admin, map[string]any{"permissions": []string{"blog.post.create"}})
	again := p.send(http.MethodPost, "/api/v1/blog/posts", signed.Access, map[string]string{"title": "Hello", "body": "World"})
	require.Equal(t, http.StatusForbidden, again.status, "at once")

	p.auditShows(admin, bob)
}

// auditShows looks for what the tour did, in a log that proves itself.
func (p *platform) auditShows(admin, bob string) {
	p.t.Helper()
	for _, query := range []string{
		"action=role.grant", "action=auth.login&actor=" + bob,
		"action=route.call&outcome=allowed&resource=blog/createPost&actor=" + bob,
		"action=route.call&outcome=denied&resource=blog/deletePost&actor=" + bob,
	} {
		p.await("the audit log to show "+query, func() bool {
			items, _ := p.ok(http.MethodGet, api+"/audit?"+query, admin, nil)["items"].([]any)
			return len(items) > 0
		})
	}
	require.Contains(p.t, p.cli("audit", "verify"), "nothing was changed")
}

// TestAccessSessions: a refresh token works once; a stolen one ends the session, and so do a new password and a logout.
func TestAccessSessions(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"hello"}})
	p.setUp()
	me := func(token string) int { return p.do(http.MethodGet, api+"/auth/me", token, "").status }
	refresh := func(token string) answer {
		return p.send(http.MethodPost, api+"/auth/refresh", "", map[string]string{"refresh_token": token})
	}
	first := p.login(adminEmail, goodWords)
	require.Equal(t, http.StatusOK, me(first.Access))
	require.Equal(t, http.StatusUnauthorized, me(first.Refresh), "it is not for this")
	var second tokens
	renewed := refresh(first.Refresh)
	require.Equal(t, http.StatusOK, renewed.status, renewed.body)
	renewed.decode(t, &second)
	require.Equal(t, http.StatusUnauthorized, refresh(first.Refresh).status, "it was used")
	require.Equal(t, http.StatusUnauthorized, refresh(second.Refresh).status, "and the thief is out too")
	require.Equal(t, http.StatusUnauthorized, me(second.Access))

	third := p.login(adminEmail, goodWords)
	changed := p.send(http.MethodPost, api+"/auth/password", third.Access, map[string]string{
		"old_password": goodWords, "new_password": goodWords + "!",
	})
	require.Equal(t, http.StatusNoContent, changed.status, changed.body)
	require.Equal(t, http.StatusUnauthorized, me(third.Access))
	fourth := p.login(adminEmail, goodWords+"!")
	require.Equal(t, http.StatusNoContent, p.send(http.MethodPost, api+"/auth/logout", fourth.Access, nil).status)
	require.Equal(t, http.StatusUnauthorized, me(fourth.Access))
	for _, wrong := range []map[string]string{
		{"email": adminEmail, "password": "wrong wrong wrong"}, {"email": "nobody@example.com", "password": goodWords},
	} {
		got := p.send(http.MethodPost, api+"/auth/login", "", wrong)
		require.Equal(t, http.StatusUnauthorized, got.status)
		require.NotContains(t, got.body, "nobody")
	}
}

// TestAccessFromTheTerminal is the same by commands, with an administrator from the environment.
func TestAccessFromTheTerminal(t *testing.T) {
	t.Parallel()
	dir := newDir(t, "billing", "blog")
	secret := filepath.Join(dir, "password")
	require.NoError(t, os.WriteFile(secret, []byte(goodWords+"\n"), 0o600))
	p := launch(t, dir, options{env: []string{"PLATFORMD_ADMIN_EMAIL=" + adminEmail, "PLATFORMD_ADMIN_PASSWORD_FILE=" + secret}})
	p.awaitReady()
	require.NotContains(t, p.log.String(), "setup?token=")
	require.NotContains(t, p.log.String(), goodWords)
	p.login(adminEmail, goodWords)

	p.cli("user", "create", "bob@example.com", "--name", "Bob", "--password-file", secret)
	p.cli("role", "create", "writer")
	p.cli("role", "grant", "writer", "blog.post.create", "blog.post.read")
	p.cli("role", "assign", "writer", "bob@example.com")
	require.Contains(t, p.cli("authz", "check", "bob@example.com", "blog.post.create"), "writer")
	_, _, code := p.tryCLI("authz", "check", "bob@example.com", "blog.post.delete")
	require.Equal(t, 6, code)
	bob := p.login("bob@example.com", goodWords).Access
	require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/blog/posts", bob, "").status)

	mine := strings.TrimSpace(p.cli("token", "create", "--user", "bob@example.com", "--permission", "blog.post.read", "-q"))
	require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/blog/posts", mine, "").status)
	require.Equal(t, http.StatusForbidden,
		p.send(http.MethodPost, "/api/v1/blog/posts", mine, map[string]string{"title": "x", "body": "y"}).status, "less than bob may")

	p.cli("user", "disable", "bob@example.com")
	for _, token := range []string{bob, mine} {
		require.Equal(t, http.StatusUnauthorized, p.do(http.MethodGet, "/api/v1/blog/posts", token, "").status)
	}
	_, stderr, code := p.tryCLI("user", "disable", adminEmail)
	require.NotZero(t, code, "nobody would be left")
	require.Contains(t, stderr, "fix:")
	require.Contains(t, p.cli("audit", "verify"), "nothing was changed")
}

// TestAccessWithinAModule: a module asks the core in the name of whoever sent the request, and only in theirs.
func TestAccessWithinAModule(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"billing", "blog"}})
	p.setUp()
	admin := p.login(adminEmail, goodWords).Access
	sign := func(email string) string {
		p.ok(http.MethodPost, api+"/users", admin, map[string]any{"email": email, "password": goodWords})
		p.ok(http.MethodPost, api+"/roles/author/assign", admin, map[string]any{"users": []string{email}})
		return p.login(email, goodWords).Access
	}
	bob, eve := sign("bob@example.com"), sign("eve@example.com")
	post, _ := p.ok(http.MethodPost, "/api/v1/blog/posts", bob, map[string]string{"title": "Hello", "body": "World"})["id"].(string)
	comments := "/api/v1/blog/posts/" + post + "/comments/"
	comment := func() string {
		id, _ := p.ok(http.MethodPost, comments[:len(comments)-1], bob, map[string]string{"body": "First!"})["id"].(string)
		return id
	}
	own, others := comment(), comment()
	require.Equal(t, http.StatusNoContent, p.do(http.MethodDelete, comments+own, bob, "").status)
	denied := p.do(http.MethodDelete, comments+others, eve, "")
	require.Equal(t, http.StatusForbidden, denied.status)
	require.Contains(t, denied.body, "blog.post.moderate")
	require.Equal(t, http.StatusNoContent, p.do(http.MethodDelete, comments+others, admin, "").status)
	rows, _ := p.ok(http.MethodGet, api+"/audit?action=blog.comment.delete&via=blog", admin, nil)["items"].([]any)
	require.Len(t, rows, 1)
	row, _ := rows[0].(map[string]any)
	require.Equal(t, "comment/"+others, row["resource"])
}

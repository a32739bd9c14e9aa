package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/problem"
)

// answer is what came back through the gateway.
type answer struct {
	status int
	body   string
}

func (a answer) detail() string {
	var p problem.Problem
	_ = json.Unmarshal([]byte(a.body), &p)
	return p.Detail
}

// through asks as the gateway would have it, which has a caller for whom it mounts the endpoints.
func (s *server) through(t *testing.T, who authz.Holder, line string, body ...string) answer {
	t.Helper()
	method, path, _ := strings.Cut(line, " ")
	mux := http.NewServeMux()
	for _, e := range Endpoints(s.api) {
		mux.HandleFunc(e.Method+" /api/v1/platform"+e.Path, func(w http.ResponseWriter, r *http.Request) {
			if err := e.Serve(w, r.WithContext(WithCaller(r.Context(), Caller{Holder: who}))); err != nil {
				p, public := problem.FromError(err)
				if !public {
					t.Log(err)
				}
				p.Write(w)
			}
		})
	}
	r := httptest.NewRequestWithContext(t.Context(), method, "/api/v1/platform"+path, strings.NewReader(strings.Join(body, "")))
	r.RemoteAddr = "203.0.113.9:4711"
	r.Header.Set("X-Request-Id", "request-1")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return answer{w.Code, w.Body.String()}
}

// session is a person who has signed in; bound is what a token of theirs opens.
func session(u identity.User, bound ...string) authz.Holder {
	return authz.Holder{Principal: link.Principal{Kind: link.KindUser, ID: u.ID, Name: u.Name}, Bound: bound}
}

// service is a token that belongs to nobody.
func service(bound ...string) authz.Holder {
	return authz.Holder{Principal: link.Principal{Kind: link.KindToken, ID: "t1", Name: "ci"}, Bound: append([]string{}, bound...)}
}

// person makes a user with a role of their own that allows what the patterns say.
func (s *server) person(t *testing.T, name string, patterns ...string) identity.User {
	t.Helper()
	u, err := s.users.Create(t.Context(), identity.NewUser{Email: name + "@example.com", Name: name})
	require.NoError(t, err)
	role := "of-" + name
	if slices.Equal(patterns, []string{"*"}) {
		role = authz.Admin
	} else {
		require.NoError(t, s.authz.CreateRole(t.Context(), role, ""))
		require.NoError(t, s.authz.Grant(t.Context(), role, patterns...))
	}
	require.NoError(t, s.authz.Assign(t.Context(), role, authz.ToUser(u.ID)))
	return u
}

func platformPermissions() (names []string) {
	for _, p := range authz.PlatformPermissions() {
		names = append(names, p.Name)
	}
	return names
}

// concrete is a path that the pattern matches.
func (e Endpoint) concrete() string {
	return e.Method + " " + strings.NewReplacer("{name}", "x", "{id}", "x", "{session}", "x").Replace(e.Path)
}

func TestEveryEndpointSaysWhoMayAsk(t *testing.T) {
	t.Parallel()
	names := platformPermissions()
	ids := map[string]bool{}
	for _, e := range Endpoints(Deps{}) {
		require.False(t, ids[e.ID], "two endpoints are called %s", e.ID)
		ids[e.ID] = true
		switch {
		case e.Permission == "" && e.Access == "":
			require.Contains(t, []string{"makeSetupLink", "listPackages", "stagePackage", "planPackage", "applyPackage", "discardPackage",
				"approveGrants", "exportData", "purgeData"}, e.ID, "the control socket alone serves no other")
		case e.Access != "":
			require.Empty(t, e.Permission)
			require.Equal(t, AccessAuthenticated, e.Access)
			require.Contains(t, []string{"listTokens", "createToken", "revokeToken"}, e.ID)
		default:
			require.Contains(t, names, e.Permission, e.ID)
		}
	}
	require.Greater(t, len(ids), 50)
}

// Whatever the mount does or forgets: each endpoint is closed to whoever has every permission but its own.
func TestEveryEndpointAsksForItsPermission(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, e := range Endpoints(s.api) {
		if e.Access != "" {
			continue
		}
		others := slices.DeleteFunc(platformPermissions(), func(name string) bool { return name == e.Permission })
		for _, who := range []authz.Holder{service(others...), service(), session(identity.User{ID: "nobody"}), {}} {
			got := s.through(t, who, e.concrete())
			require.Equal(t, http.StatusForbidden, got.status, "%s for %v: %s", e.ID, who, got.body)
		}
		if e.Permission == "" {
			require.Equal(t, http.StatusForbidden, s.through(t, service("*"), e.concrete()).status)
			continue
		}
		require.Contains(t, s.through(t, service(others...), e.concrete()).detail(), e.Permission)
	}
	select {
	case <-s.stopped:
		t.Fatal("somebody stopped the platform")
	default:
	}
}

// A mount that does not say who asks opens nothing.
func TestNobodyInParticularMayDoNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, e := range Endpoints(s.api) {
		r := httptest.NewRequestWithContext(t.Context(), e.Method, "/", strings.NewReader(`{"ttl":"1d","permissions":[]}`))
		w := httptest.NewRecorder()
		var p *problem.Problem
		require.ErrorAs(t, e.Serve(w, r), &p, e.ID)
		require.Equal(t, http.StatusForbidden, p.Status, e.ID)
	}
	// Who calls himself the operator is not, unless the control socket says so.
	fake := authz.Holder{Principal: link.Principal{Kind: KindOperator, ID: "control", Name: "operator"}}
	require.Equal(t, http.StatusForbidden, s.through(t, fake, "GET /users").status)
}

// Whoever may change users must not become somebody who may do more.
func TestNobodyTakesOverSomebodyMightier(t *testing.T) {
	t.Parallel()
	s := start(t)
	desk := session(s.person(t, "desk", "platform.user.*", "blog.post.read"))
	boss, reader := s.person(t, "boss", "*"), s.person(t, "reader", "blog.post.read")
	writer := s.person(t, "writer", "blog.post.read", "blog.post.create")
	other := s.person(t, "other", "*") // so that boss is not the last
	for _, c := range []struct{ line, body string }{
		{"PUT /users/%/password", `{"password":"correct horse battery"}`},
		{"PATCH /users/%", `{"email":"mine@example.com"}`},
		{"POST /users/%/reset", ""}, {"POST /users/%/disable", ""}, {"POST /users/%/enable", ""}, {"DELETE /users/%", ""},
	} {
		for _, target := range []identity.User{boss, writer} {
			got := s.through(t, desk, strings.ReplaceAll(c.line, "%", target.ID), c.body)
			require.Equal(t, http.StatusForbidden, got.status, "%s: %s", c.line, got.body)
			require.Contains(t, got.detail(), "may do more than you")
		}
		// A token of somebody mighty that itself opens little is not mighty.
		got := s.through(t, session(other, "platform.user.*"), strings.ReplaceAll(c.line, "%", boss.ID), c.body)
		require.Equal(t, http.StatusForbidden, got.status, got.body)
		got = s.through(t, service("platform.user.*"), strings.ReplaceAll(c.line, "%", reader.ID), c.body)
		require.Equal(t, http.StatusForbidden, got.status, got.body)
		got = s.through(t, desk, strings.ReplaceAll(c.line, "%", reader.ID), strings.ReplaceAll(c.body, "mine@", "theirs@"))
		require.Less(t, got.status, 300, "%s: %s", c.line, got.body)
	}
	require.Equal(t, http.StatusOK, s.through(t, desk, "PATCH /users/"+boss.Email, `{"name":"The Boss"}`).status)
	unchanged, err := s.users.Get(t.Context(), boss.ID)
	require.NoError(t, err)
	require.Equal(t, boss.Email, unchanged.Email)
	require.False(t, unchanged.Disabled)
	require.False(t, unchanged.HasPassword)
	require.Less(t, s.through(t, session(boss), "POST /users/"+other.ID+"/disable").status, 300, "one admin may rule another")
}

func TestNobodyHandsOutMoreThanTheyHave(t *testing.T) {
	t.Parallel()
	s := start(t)
	clerk := session(s.person(t, "clerk", "platform.role.*", "platform.group.*", "platform.user.*", "blog.post.read"))
	reader := s.person(t, "reader", "blog.post.read")
	require.NoError(t, s.authz.CreateRole(t.Context(), "weak", ""))
	require.NoError(t, s.authz.CreateGroup(t.Context(), "admins", ""))
	require.NoError(t, s.authz.CreateGroup(t.Context(), "readers", ""))
	require.NoError(t, s.authz.Assign(t.Context(), authz.Admin, authz.ToGroup("admins")))
	require.NoError(t, s.authz.Assign(t.Context(), "of-reader", authz.ToGroup("readers")))
	toReader := `{"users":["` + reader.Email + `"]}`
	for _, c := range []struct {
		line, body string
		allowed    bool
	}{
		{"POST /roles/weak/grant", `{"permissions":["blog.post.read"]}`, true},
		{"POST /roles/weak/grant", `{"permissions":["blog.post.create"]}`, false},
		{"POST /roles/weak/grant", `{"permissions":["blog.post.read","blog.*"]}`, false},
		{"POST /roles/weak/grant", `{"permissions":["*"]}`, false},
		{"POST /roles/weak/grant", `{"permissions":["platform.*"]}`, false},
		{"POST /roles/of-reader/assign", toReader, true},
		{"POST /roles/admin/assign", toReader, false},
		{"POST /roles/admin/assign", `{"groups":["readers"]}`, false},
		{"POST /groups/readers/add", toReader, true},
		{"POST /groups/admins/add", toReader, false},
		{"POST /users", `{"email":"new@example.com","admin":true}`, false},
		{"POST /users", `{"email":"new@example.com"}`, true},
	} {
		got := s.through(t, clerk, c.line, c.body)
		if c.allowed {
			require.Less(t, got.status, 300, "%s %s: %s", c.line, c.body, got.body)
			continue
		}
		require.Equal(t, http.StatusForbidden, got.status, "%s %s: %s", c.line, c.body, got.body)
		require.Contains(t, got.detail(), "nobody hands out more than they have")
	}
	allowed, err := s.authz.Allows(reader.ID, "blog.post.create")
	require.NoError(t, err)
	require.False(t, allowed)
	// The operator may.
	require.NoError(t, s.Assign(t.Context(), authz.Admin, Subjects{Users: []string{reader.Email}}))
}

func TestTokensOfOnesOwn(t *testing.T) {
	t.Parallel()
	s := start(t)
	ada, bob := s.person(t, "ada", "blog.post.read"), s.person(t, "bob", "blog.post.read")
	own := func(owner, permission string) string {
		return `{"name":"mine","ttl":"1d","owner":"` + owner + `","permissions":["` + permission + `"]}`
	}
	for _, owner := range []string{"me", ada.ID, "ADA@example.com"} {
		got := s.through(t, session(ada), "POST /tokens", own(owner, "blog.post.read"))
		require.Equal(t, http.StatusCreated, got.status, got.body)
		var made CreatedToken
		require.NoError(t, json.Unmarshal([]byte(got.body), &made))
		known, err := s.tokens.Authenticate(t.Context(), made.Secret)
		require.NoError(t, err)
		require.Equal(t, ada.ID, known.Principal.ID)
		require.Contains(t, s.through(t, session(ada), "GET /tokens?owner="+owner).body, made.ID)
		require.Equal(t, http.StatusForbidden, s.through(t, session(bob), "DELETE /tokens/"+made.ID).status)
		require.Equal(t, http.StatusNoContent, s.through(t, session(ada), "DELETE /tokens/"+made.ID).status)
	}
	for _, c := range []struct {
		who        authz.Holder
		line, body string
	}{
		{session(ada), "POST /tokens", own("me", "blog.post.create")},
		{session(ada), "POST /tokens", own("", "blog.post.read")},
		{session(ada), "POST /tokens", own(bob.ID, "blog.post.read")},
		{session(ada), "GET /tokens", ""}, {session(ada), "GET /tokens?owner=" + bob.Email, ""},
		{session(ada), "GET /tokens?owner=nobody@example.com", ""}, {session(ada), "DELETE /tokens/absent", ""},
		// A token makes no tokens, which could outlive it.
		{session(ada, "blog.post.read"), "POST /tokens", own("me", "blog.post.read")},
		{session(ada, "blog.post.read"), "GET /tokens?owner=me", ""},
		{service("blog.*"), "GET /tokens?owner=me", ""},
	} {
		got := s.through(t, c.who, c.line, c.body)
		require.Equal(t, http.StatusForbidden, got.status, "%s %s: %s", c.line, c.body, got.body)
	}
	// Who may make tokens of others makes none of somebody mightier.
	maker := session(s.person(t, "maker", "platform.token.*", "blog.post.read"))
	boss := s.person(t, "boss", "*")
	require.Equal(t, http.StatusCreated, s.through(t, maker, "POST /tokens", own(bob.Email, "blog.post.read")).status)
	require.Equal(t, http.StatusCreated, s.through(t, maker, "POST /tokens", own("", "blog.post.read")).status)
	require.Equal(t, http.StatusForbidden, s.through(t, maker, "POST /tokens", own(boss.Email, "blog.post.read")).status)
	require.Equal(t, http.StatusForbidden, s.through(t, maker, "POST /tokens", own("", "blog.*")).status)
	_, err := s.CreateToken(t.Context(), NewToken{TTL: "1d", Owner: "me"})
	requireProblem(t, err, http.StatusBadRequest, "invalid_argument")
}

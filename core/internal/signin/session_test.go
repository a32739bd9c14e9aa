package signin_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/jsonbody"
	"github.com/platformd/platformd/core/internal/signin"
	"github.com/platformd/platformd/plugin-api/problem"
)

func TestRoutesAndWhoMayAsk(t *testing.T) {
	t.Parallel()
	public := map[string]bool{}
	for _, r := range signin.Routes(signin.Deps{}) {
		public[r.Method+" "+r.Path] = r.Public
	}
	require.Equal(t, map[string]bool{
		"GET /jwks.json": true, "POST /auth/login": true, "POST /auth/refresh": true, "POST /auth/logout": false,
		"GET /auth/me": false, "GET /auth/sessions": false, "DELETE /auth/sessions/{id}": false, "POST /auth/password": false,
		"GET /auth/providers": true, "GET /auth/providers/{name}/begin": true, "GET /auth/providers/{name}/finish": true,
		"POST /auth/providers/{name}/exchange": true, "GET /setup": true, "POST /setup": true, "GET /password": true,
		"POST /password": true,
	}, public)
}

func TestASessionFromBeginningToEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada")
	got := w.send("POST /auth/login", "", map[string]string{"email": " ADA@example.com", "password": passphrase})
	require.Equal(t, http.StatusOK, got.status, got.body)
	require.Equal(t, objectType, got.header.Get("Content-Type"))
	require.Equal(t, "no-store", got.header.Get("Cache-Control"))
	require.Empty(t, got.header.Values("Set-Cookie"), "cookies never authenticate")
	var keys map[string]any
	got.decode(t, &keys)
	require.ElementsMatch(t, []string{"access_token", "refresh_token", "expires_in", "token_type"}, keysOf(keys))
	var first tokens
	got.decode(t, &first)
	require.Equal(t, 900, first.Expires)
	require.Equal(t, "Bearer", first.Type)

	var self map[string]any
	w.do(call{line: "GET /auth/me", token: first.Access}).decode(t, &self)
	require.NotEmpty(t, self["session"])
	delete(self, "session")
	require.Equal(t, map[string]any{
		"kind": "user", "id": ada.ID, "name": "ada", "email": "ada@example.com", "permissions": []any{},
	}, self)

	other := w.login("ada@example.com")
	var second tokens
	w.send("POST /auth/refresh", "", map[string]string{"refresh_token": first.Refresh}).decode(t, &second)
	require.NotEqual(t, first.Refresh, second.Refresh)
	require.Equal(t, http.StatusOK, w.me(second.Access))

	out := w.do(call{line: "POST /auth/logout", token: second.Access})
	require.Equal(t, http.StatusNoContent, out.status)
	require.Empty(t, out.body)
	for _, token := range []string{first.Access, second.Access} {
		require.Equal(t, http.StatusUnauthorized, w.me(token))
	}
	w.send("POST /auth/refresh", "", map[string]string{"refresh_token": second.Refresh}).refused(t, 401, "session has ended")
	require.Equal(t, http.StatusOK, w.me(other.Access), "another session goes on")

	for action, n := range map[string]int{"auth.login": 2, "auth.logout": 1} {
		row := w.rows(action, n)[0]
		require.Equal(t, ada.ID, row.Actor.ID)
		require.Equal(t, audit.Done, row.Outcome)
		require.Regexp(t, "^session/.+", row.Resource)
		require.Equal(t, "request-1", row.RequestID)
		require.Regexp(t, `^10\.1\.`, row.Address)
	}
	require.Equal(t, audit.Denied, w.rows("auth.refresh", 1)[0].Outcome)
	w.nothingInternal()
}

func keysOf(m map[string]any) (keys []string) {
	for key := range maps.Keys(m) {
		keys = append(keys, key)
	}
	return keys
}

// A refresh token that comes twice was stolen: the session ends, and the log says whose it was.
func TestARefreshTokenThatComesTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada")
	first := w.login("ada@example.com")
	refresh := func(token string) answer {
		return w.send("POST /auth/refresh", "", map[string]string{"refresh_token": token})
	}
	var second tokens
	refresh(first.Refresh).decode(t, &second)
	stolen := refresh(first.Refresh)
	stolen.refused(t, 401, "session has ended")
	require.NotContains(t, stolen.body, "twice", "one of the two is a thief")
	refresh(second.Refresh).refused(t, 401, "session has ended")
	require.Equal(t, http.StatusUnauthorized, w.me(second.Access))
	row := w.rows("auth.refresh", 2)[0]
	require.Equal(t, ada.ID, row.Actor.ID)
	require.Equal(t, audit.Denied, row.Outcome)
	require.Contains(t, string(row.Details), "came twice")
	w.move(31 * 24 * time.Hour)
	third := w.login("ada@example.com")
	w.move(31 * 24 * time.Hour)
	refresh(third.Refresh).refused(t, 401, "session has ended")
}

// Nothing in an answer tells an account that is there from one that is not.
func TestWhoeverMayNotSignInGetsTheSameAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.person("ada")
	bob := w.person("bob")
	require.NoError(t, w.deps.Identity.SetDisabled(t.Context(), bob.ID, true))
	_, _, err := w.deps.Identity.Invite(t.Context(), "carl@example.com", "")
	require.NoError(t, err)
	var all []answer
	for _, tried := range []map[string]string{
		{"email": "ada@example.com", "password": "wrong wrong wrong"}, {"email": "nobody@example.com", "password": passphrase},
		{"email": "bob@example.com", "password": passphrase}, {"email": "carl@example.com", "password": passphrase},
		{"email": "carl@example.com", "password": ""}, {"email": "", "password": ""}, {}, {"email": "ada@example.com"},
		{"password": passphrase}, {"email": "<script>\x1b\u202e@x", "password": passphrase},
		{"email": "ada@example.com\x00", "password": passphrase},
		{"email": "ada@example.com", "password": strings.Repeat("x", 2000)},
	} {
		all = append(all, w.send("POST /auth/login", "", tried))
	}
	all[0].refused(t, 401, "email or the password is wrong")
	for _, got := range all {
		require.Equal(t, all[0], got)
	}
	for _, row := range w.rows("auth.login", len(all)) {
		require.Equal(t, audit.Denied, row.Outcome)
		require.Equal(t, "anonymous", row.Actor.Kind, "it is not known who that was")
		require.Regexp(t, "^email/", row.Resource)
	}
	require.NotContains(t, w.log(), passphrase)
	w.nothingInternal()
}

func TestGuessingIsSlowedDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.person("ada")
	w.person("bob")
	try := func(email, password, from string) answer {
		return w.do(call{
			line: "POST /auth/login", kind: objectType, from: from, body: fmt.Sprintf(`{"email":%q,"password":%q}`, email, password),
			header: map[string]string{"X-Forwarded-For": fmt.Sprint("203.0.113.", w.hosts.Add(1)), "X-Real-Ip": "203.0.113.1"},
		})
	}
	for _, email := range []string{"ada@example.com", "nobody@example.com"} { // an account that is not there is slowed down alike
		for range 5 {
			require.Equal(t, 401, try(email, "wrong wrong wrong", "").status)
		}
		slow := try(email, passphrase, "")
		slow.refused(t, http.StatusTooManyRequests, "too many")
		require.Equal(t, "1", slow.header.Get("Retry-After"))
	}
	w.move(time.Second)
	require.Equal(t, 200, try("ada@example.com", passphrase, "").status)

	for i := range 5 { // from one address, at many accounts
		require.Equal(t, 401, try(fmt.Sprint("x", i), "wrong wrong wrong", "192.0.2.1:1000").status)
	}
	require.Equal(t, http.StatusTooManyRequests, try("bob@example.com", passphrase, "192.0.2.1:1001").status)
	require.Equal(t, 200, try("bob@example.com", passphrase, "192.0.2.2:1000").status)
}

func TestBodiesThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withProvider(t))
	w.person("ada")
	token := w.login("ada@example.com").Access
	for _, line := range []string{
		"POST /auth/login", "POST /auth/refresh", "POST /auth/password", "POST /auth/providers/acme/exchange", "POST /setup",
		"POST /password",
	} {
		for name, c := range map[string]struct {
			kind, body string
			status     int
			says       string
		}{
			"no kind":             {"", `{}`, 415, "Content-Type"},
			"as another site can": {"text/plain", `{}`, 415, objectType},
			"multipart":           {"multipart/form-data; boundary=x", "--x--", 415, objectType},
			"no kind at all":      {";;;", `{}`, 415, objectType},
			"nearly":              {"application/jsonp", `{}`, 415, objectType},
			"none":                {objectType, "", 400, "EOF"},
			"no JSON":             {objectType, "email=x", 400, "invalid character"},
			"cut":                 {objectType, `{"email":"x`, 400, "unexpected EOF"},
			"unknown key":         {objectType, `{"admin":true}`, 400, `unknown field "admin"`},
			"an array":            {objectType, `[]`, 400, "array"},
			"two":                 {objectType, `{}{}`, 400, "goes on after"},
			"too long":            {objectType, `{"token":"` + strings.Repeat("x", jsonbody.Max) + `"}`, 413, "65536 bytes"},
		} {
			got := w.do(call{line: line, kind: c.kind, body: c.body, token: token})
			require.Equal(t, c.status, got.status, "%s: %s: %s", line, name, got.body)
			got.refused(t, c.status, c.says)
		}
		if line != "POST /setup" && line != "POST /password" {
			w.do(call{line: line, kind: formType, body: "email=x", token: token}).refused(t, 415, objectType)
		}
	}
	for line, status := range map[string]int{ // what lacks everything
		"POST /auth/login": 401, "POST /auth/refresh": 401, "POST /auth/password": 400, "POST /auth/providers/acme/exchange": 401,
		"POST /auth/providers/nobody/exchange": 404, "POST /setup": 403, "POST /password": 403,
	} {
		for _, body := range []string{"{}", "null"} {
			w.do(call{line: line, kind: objectType, body: body, token: token}).refused(t, status, "")
		}
	}
	w.nothingInternal()
}

// What is a session's own is for no token, and nothing here for whom the gateway knows not.
func TestTokensAreNoSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada")
	make := func(owner string) string {
		secret, _, err := w.deps.Auth.Create(t.Context(), auth.NewToken{
			Name: "ci", Owner: owner, Permissions: []string{"platform.user.read"}, TTL: time.Hour,
		})
		require.NoError(t, err)
		return secret
	}
	service, personal := make(""), make(ada.ID)
	for _, line := range []string{"POST /auth/logout", "GET /auth/sessions", "DELETE /auth/sessions/x", "POST /auth/password"} {
		body := fmt.Sprintf(`{"old_password":%q,"new_password":"another passphrase"}`, passphrase)
		w.do(call{line: line, kind: objectType, body: body, token: service}).refused(t, 403, "for people")
		w.do(call{line: line, kind: objectType, body: body, token: personal}).refused(t, 403, "needs a session")
		require.Equal(t, 401, w.do(call{line: line}).status)
	}
	var who map[string]any
	w.do(call{line: "GET /auth/me", token: service}).decode(t, &who)
	require.Equal(t, "token", who["kind"])
	require.Equal(t, []any{"platform.user.read"}, who["permissions"])
	require.NotContains(t, who, "email")
	who = nil
	w.do(call{line: "GET /auth/me", token: personal}).decode(t, &who)
	require.Equal(t, ada.ID, who["id"])
	require.Equal(t, []any{}, who["permissions"], "no more than its owner may")
	w.login("ada@example.com") // the password is what it was
}

func TestSessionsOfOnesOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.person("ada")
	w.person("bob")
	here, there, bobs := w.login("ada@example.com"), w.login("ada@example.com"), w.login("bob@example.com")
	list := func(token string) (sessions []auth.Session) {
		got := w.do(call{line: "GET /auth/sessions", token: token})
		require.Equal(t, 200, got.status)
		var found struct{ Items []auth.Session }
		got.decode(t, &found)
		return found.Items
	}
	require.Len(t, list(here.Access), 2)
	require.Equal(t, "browser", list(here.Access)[0].UserAgent)
	bob := list(bobs.Access)
	require.Len(t, bob, 1)
	for _, id := range []string{bob[0].ID, "x", "%00", "%22%3E%3Cscript%3E", strings.Repeat("x", 5000)} {
		w.do(call{line: "DELETE /auth/sessions/" + id, token: here.Access}).refused(t, 404, "no such session")
	}
	require.Equal(t, 200, w.me(bobs.Access))
	var self struct{ Session string }
	w.do(call{line: "GET /auth/me", token: there.Access}).decode(t, &self)
	require.Equal(t, 204, w.do(call{line: "DELETE /auth/sessions/" + self.Session, token: here.Access}).status)
	require.Equal(t, 401, w.me(there.Access))
	require.Equal(t, 200, w.me(here.Access))
	require.Len(t, list(here.Access), 1)
	require.Equal(t, "session/"+self.Session, w.rows("session.end", 1)[0].Resource)
	w.do(call{line: "DELETE /auth/sessions/" + self.Session, token: here.Access}).refused(t, 404, "no such session")
	w.nothingInternal()
}

func TestAnotherPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada")
	here, there := w.login("ada@example.com"), w.login("ada@example.com")
	change := func(old, password string) answer {
		return w.send("POST /auth/password", here.Access, map[string]string{"old_password": old, "new_password": password})
	}
	change(passphrase, "short").refused(t, 400, "at least 10")
	change(passphrase, "ADA@example.com").refused(t, 400, "is the e-mail address")
	change("wrong wrong wrong", "another passphrase").refused(t, 403, "old password is wrong")
	require.Equal(t, 200, w.me(there.Access))
	require.Equal(t, 204, change(passphrase, "another passphrase").status)
	for _, token := range []string{here.Access, there.Access} {
		require.Equal(t, 401, w.me(token), "all sessions end")
	}
	w.send("POST /auth/refresh", "", map[string]string{"refresh_token": there.Refresh}).refused(t, 401, "session has ended")
	w.send("POST /auth/login", "", map[string]string{"email": ada.Email, "password": passphrase}).refused(t, 401, "wrong")
	got := w.send("POST /auth/login", "", map[string]string{"email": ada.Email, "password": "another passphrase"})
	require.Equal(t, 200, got.status)
	var done []audit.Row
	for _, row := range w.rows("user.password", 4) {
		require.Equal(t, "user/"+ada.ID, row.Resource)
		require.NotContains(t, string(row.Details), "passphrase")
		if row.Outcome == audit.Done {
			done = append(done, row)
		}
	}
	require.Len(t, done, 1)
	w.nothingInternal()
}

// Who has stolen a session must not find out the password by it, nor keep its owner from signing in.
func TestTheOldPasswordIsNotForGuessing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.person("ada")
	stolen := w.login("ada@example.com").Access
	guess := func(old string) answer {
		return w.send("POST /auth/password", stolen, map[string]string{"old_password": old, "new_password": "the thief's own"})
	}
	for range 5 {
		guess("wrong wrong wrong").refused(t, 403, "old password is wrong")
	}
	slow := guess(passphrase)
	slow.refused(t, http.StatusTooManyRequests, "too many")
	require.Equal(t, "1", slow.header.Get("Retry-After"))
	w.login("ada@example.com")
	w.move(time.Second)
	require.Equal(t, 204, guess(passphrase).status)
}

// Another daemon has deleted the user: here the session is good for a moment.
func TestAUserWhoIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada")
	token := w.login("ada@example.com").Access
	who, err := w.deps.Auth.Authenticate(t.Context(), token)
	require.NoError(t, err)
	require.NoError(t, w.deps.Identity.Delete(t.Context(), ada.ID))
	require.Equal(t, 401, w.me(token))
	for _, route := range signin.Routes(w.deps) {
		if route.ID != "me" && route.ID != "changePassword" {
			continue
		}
		body := `{"old_password":"x","new_password":"long enough it is"}`
		r := httptest.NewRequestWithContext(t.Context(), route.Method, prefix+route.Path, strings.NewReader(body))
		r.Header.Set("Content-Type", objectType)
		p, public := problem.FromError(route.Serve(httptest.NewRecorder(), r, who))
		require.True(t, public, route.ID)
		require.Equal(t, 401, p.Status, route.ID)
	}
}

func TestKeysForEverybody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := w.do(call{line: "GET /jwks.json"})
	require.Equal(t, 200, got.status)
	require.Equal(t, "application/jwk-set+json", got.header.Get("Content-Type"))
	require.Equal(t, "public, max-age=300", got.header.Get("Cache-Control"))
	var set struct{ Keys []map[string]any }
	got.decode(t, &set)
	require.NotEmpty(t, set.Keys)
	for _, key := range set.Keys {
		require.Equal(t, "OKP", key["kty"])
		require.NotContains(t, key, "d", "the private part")
	}
}

package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
)

func TestAccess(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	const public, members, secret = "/api/v1/echo/public/x", "/api/v1/echo/members", "/api/v1/echo/secret"
	bearer := func(token string) []string { return []string{"Authorization: Bearer " + token} }
	for _, c := range []struct {
		name        string
		credentials []string
		// by route: the statuses of public, authenticated, and permission
		public, members, secret int
	}{
		{"none", nil, 200, 401, 401},
		{"valid", bearer(goodToken), 200, 200, 200},
		{"scheme in lower case", []string{"Authorization: bearer " + goodToken}, 200, 200, 200},
		{"insufficient", bearer(otherToken), 200, 200, 403},
		{"unknown", bearer("pfd_unknown"), 401, 401, 401},
		{"not checkable", bearer(brokenToken), 503, 503, 503},
		{"nobody's", bearer(nobodyToken), 503, 503, 503},
		{"two headers", append(bearer(goodToken), bearer(goodToken)...), 401, 401, 401},
		{"empty", []string{"Authorization: "}, 401, 401, 401},
		{"no token", []string{"Authorization: Bearer"}, 401, 401, 401},
		{"no scheme", []string{"Authorization: " + goodToken}, 401, 401, 401},
		{"another scheme", []string{"Authorization: Basic cGZkX2dvb2Q6"}, 401, 401, 401},
		{"two tokens", bearer(goodToken + " " + goodToken), 401, 401, 401},
		{"a list", bearer(goodToken + ", Bearer " + goodToken), 401, 401, 401},
		{"a list without spaces", bearer(goodToken + ","), 401, 401, 401},
		{"a tab", []string{"Authorization: Bearer\t" + goodToken}, 401, 401, 401},
		{"beyond ASCII", bearer("pfd_g\u00f6od"), 401, 401, 401},
		{"very long", bearer(strings.Repeat("a", 16<<10)), 401, 401, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			for path, status := range map[string]int{public: c.public, members: c.members, secret: c.secret} {
				answer := f.get(path, c.credentials...)
				require.Equal(t, status, answer.status, "%s: %s", path, answer.body)
				requireExplained(t, answer, c.credentials != nil)
			}
		})
	}
}

// requireExplained: whoever is turned away learns how to come in.
func requireExplained(t *testing.T, answer answered, tried bool) {
	t.Helper()
	switch answer.status {
	case http.StatusUnauthorized:
		answer.requireProblem(t, http.StatusUnauthorized, "unauthenticated")
		want := `Bearer realm="platformd"`
		if tried {
			want += `, error="invalid_token"`
		}
		require.Equal(t, want, answer.header.Get("WWW-Authenticate"))
	case http.StatusForbidden:
		p := answer.requireProblem(t, http.StatusForbidden, "permission_denied")
		require.Contains(t, p.Detail, "echo.thing.read")
	case http.StatusServiceUnavailable:
		p := answer.requireProblem(t, http.StatusServiceUnavailable, "unavailable")
		require.Contains(t, p.Detail, "tokens cannot be checked")
		require.NotEmpty(t, answer.header.Get("Retry-After"))
	}
}

func TestPrincipalReachesTheModule(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	require.Equal(t, link.Anonymous(), f.see("/api/v1/echo/public/x").Principal)
	for _, path := range []string{"/api/v1/echo/public/x", "/api/v1/echo/members", "/api/v1/echo/secret"} {
		got := f.see(path, "Authorization: Bearer "+goodToken)
		require.Equal(t, link.Principal{Kind: link.KindToken, ID: "tok-1", Name: "ci"}, got.Principal)
	}
}

// TestSlowAuthenticationEnds: a token that cannot be looked at in time lets nobody in.
func TestSlowAuthenticationEnds(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil, hurried)
	answer := f.get("/api/v1/echo/public/x", "Authorization: Bearer "+slowToken)
	answer.requireProblem(t, http.StatusServiceUnavailable, "unavailable")
}

// TestCallReachesTheModule: route, parameters and path are what was decided.
func TestCallReachesTheModule(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	got := f.see("/api/v1/echo/public/a%20b%2541?q=1&q=%2F")
	require.Equal(t, "public", got.Route)
	require.Equal(t, []link.Param{{Name: "name", Value: "a b%41"}}, got.Params)
	require.Equal(t, "/public/a b%41", got.Path)
	require.Equal(t, "q=1&q=%2F", got.Query)
	require.Positive(t, got.Left)
	require.LessOrEqual(t, got.Left.Seconds(), 30.0)
	got = f.see("/api/v1/echo/files/a/b/c.txt")
	require.Equal(t, []link.Param{{Name: "path", Value: "a/b/c.txt"}}, got.Params)
	got = f.see("/api/v1/echo")
	require.Equal(t, "root", got.Route)
	require.Equal(t, "/", got.Path)
}

package gateway

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCORS(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, func(d *Deps) { d.Server.CORS.Origins = []string{"https://app.example.com"} })
	const secret, home = "/api/v1/echo/secret", "Origin: https://app.example.com"
	preflight := f.do(http.MethodOptions, secret, nil, home, "Access-Control-Request-Method: GET",
		"Access-Control-Request-Headers: authorization")
	require.Equal(t, http.StatusNoContent, preflight.status, "answered before anybody asks for a token")
	require.Equal(t, "https://app.example.com", preflight.header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "authorization", preflight.header.Get("Access-Control-Allow-Headers"))
	require.NotEmpty(t, preflight.header.Get("X-Request-Id"))

	for name, answer := range map[string]answered{
		"allowed": f.get(secret, home, "Authorization: Bearer "+goodToken), "refused": f.get(secret, home),
	} {
		require.Equal(t, "https://app.example.com", answer.header.Get("Access-Control-Allow-Origin"), name)
		require.Contains(t, answer.header.Get("Access-Control-Expose-Headers"), "X-Request-Id", name)
		require.Empty(t, answer.header.Get("Access-Control-Allow-Credentials"), name)
	}
	require.Equal(t, http.StatusUnauthorized, f.get(secret, home).status)

	foreign := f.do(http.MethodOptions, secret, nil, "Origin: https://evil.example", "Access-Control-Request-Method: GET")
	require.Empty(t, foreign.header.Get("Access-Control-Allow-Origin"))
	require.Empty(t, f.get(secret, "Origin: https://evil.example").header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, http.StatusMethodNotAllowed, f.do(http.MethodOptions, secret, nil, home).status, "no preflight")
}

// TestNoCORS: without the setting no page of another origin is let in.
func TestNoCORS(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	answer := f.do(http.MethodOptions, "/api/v1/echo/secret", nil, "Origin: https://a.example", "Access-Control-Request-Method: GET")
	require.Equal(t, http.StatusMethodNotAllowed, answer.status)
	require.Empty(t, answer.header.Get("Access-Control-Allow-Origin"))
}

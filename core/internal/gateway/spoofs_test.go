package gateway

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/spoofs"
)

// TestIdentityCannotBeSpoofed: whatever headers a client sends, a module sees whom the core has authenticated, the ticket that it
// has made, and nothing of what the client claims.
func TestIdentityCannotBeSpoofed(t *testing.T) {
	t.Parallel()
	require.GreaterOrEqual(t, len(spoofs.All()), 200)
	for transport, launch := range map[string]func(testing.TB, *instance.Launcher, string) *instance.Instance{
		"link": instancetest.Launch, "http1": instancetest.LaunchHTTP1,
	} {
		for caller, credentials := range map[string]string{"anonymous": "", "authenticated": "Authorization: Bearer x\r\n"} {
			t.Run(transport+", "+caller, func(t *testing.T) {
				t.Parallel()
				f := start(t, func(d *Deps) { d.Authenticate, d.Ticket = authenticateX, ticketOf })
				require.Empty(t, f.gateway.SetModules(modules(parse(t, echoManifest+"grants: { authz: [check] }\n")), nil))
				f.registry.Put("echo", launch(t, instancetest.Launcher(t), "echo"))
				want := seen{Principal: link.Anonymous()}
				if credentials != "" {
					want = seen{Principal: ada().Principal, Ticket: "u-1/s-1/echo/r1"}
				}
				arrived := 0
				for _, line := range spoofs.All() {
					if f.requireUnspoofed(credentials+line, want) {
						arrived++
					}
				}
				require.GreaterOrEqual(t, arrived, len(spoofs.All())-5, "only what asks for an upgrade, or brings credentials, is refused")
			})
		}
	}
}

// authenticateX knows one token.
func authenticateX(_ context.Context, secret string) (auth.Identity, error) {
	if secret == "x" {
		return ada(), nil
	}
	return auth.Identity{}, auth.ErrInvalidToken
}

// requireUnspoofed sends the header lines. It reports whether the request arrived, or else was refused for a reason.
func (f *fixture) requireUnspoofed(lines string, want seen) (arrived bool) {
	f.t.Helper()
	got := f.raw("POST /api/v1/echo/post HTTP/1.1\r\nHost: x\r\nX-Control: ok\r\nX-Request-Id: r1\r\n" + lines + "\r\n\r\n")
	require.NotContains(f.t, got.body, spoofs.Mark, lines)
	lower := strings.ToLower(lines)
	switch got.status {
	case http.StatusUnauthorized:
		require.Contains(f.t, lower, "authorization: ", lines)
		return false
	case http.StatusBadRequest:
		require.Contains(f.t, lower, "upgrade: ", lines)
		return false
	}
	saw := got.seen(f.t)
	require.Equal(f.t, want.Principal, saw.Principal, lines)
	require.Equal(f.t, want.Ticket, saw.Ticket, lines)
	require.Equal(f.t, "post", saw.Route, lines)
	require.Empty(f.t, saw.Params, lines)
	require.Equal(f.t, []string{"ok"}, saw.Header["X-Control"], "the request came as it is: %s", lines)
	require.NotContains(f.t, saw.Header, "Authorization", lines)
	for name := range saw.Header {
		reads := strings.Map(func(r rune) rune {
			if 'a' <= r && r <= 'z' {
				return r
			}
			return '-'
		}, strings.ToLower(name))
		require.False(f.t, strings.HasPrefix(reads, "platformd") || strings.HasPrefix(reads, "remote-user"), "%s: %s", name, lines)
	}
	return true
}

package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
	"github.com/platformd/platformd/plugin-api/link"
)

// ada may what the index says.
func ada() auth.Identity {
	return auth.Identity{Principal: link.Principal{Kind: link.KindUser, ID: "u-1", Name: "Ada"}, Session: "s-1"}
}

func authenticateAda(context.Context, string) (auth.Identity, error) { return ada(), nil }

// TestAuthFailsClosed: whatever goes wrong with those who judge, nobody is served: none of 10,000, half of them by a module.
func TestAuthFailsClosed(t *testing.T) {
	t.Parallel()
	launcher := instancetest.Launcher(t)
	for name, c := range map[string]struct {
		requests int
		status   int
		broken   func(*Deps)
	}{
		"the index fails": {10_000, 503, func(d *Deps) {
			d.Decide = decideBy(func(string, string) (bool, error) { return false, errors.New("no database") })
		}},
		"the index fails, and says yes": {10_000, 503, func(d *Deps) {
			d.Decide = decideBy(func(string, string) (bool, error) { return true, errors.New("no database") })
		}},
		"there is no index": {10_000, 403, func(d *Deps) { d.Decide = nil }},
		"the index panics":  {1000, 500, func(d *Deps) { d.Decide = decideBy(func(string, string) (bool, error) { panic("ouch") }) }},
		"the index says no": {10_000, 403, func(d *Deps) {
			d.Decide = decideBy(func(string, string) (bool, error) { return false, nil })
		}},
		"authentication fails": {10_000, 503, func(d *Deps) { d.Authenticate = failing(errors.New("no database")) }},
		"authentication is slow": {10_000, 503, func(d *Deps) {
			d.Authenticate = func(ctx context.Context, _ string) (auth.Identity, error) {
				<-ctx.Done()
				return ada(), ctx.Err()
			}
		}},
		"authentication panics": {1000, 500, func(d *Deps) {
			d.Authenticate = func(context.Context, string) (auth.Identity, error) { panic("ouch") }
		}},
		"nobody is said to be valid": {10_000, 503, func(d *Deps) {
			d.Authenticate = func(context.Context, string) (auth.Identity, error) { return auth.Identity{}, nil }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var served atomic.Int64
			f := start(t, func(d *Deps) {
				d.Log = hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: io.Discard})
				d.Authenticate, d.Platform = authenticateAda, ownTwins()
				d.Decide = decideBy(func(string, string) (bool, error) { return true, nil })
				for i := range d.Platform {
					d.Platform[i].Serve = func(http.ResponseWriter, *http.Request, auth.Identity) error { served.Add(1); return nil }
				}
				c.broken(d)
			}, func(g *Gateway) { g.timeouts.auth = 20 * time.Millisecond })
			require.Empty(t, f.gateway.SetModules(echoAlone(t), nil))
			f.registry.Put("echo", instancetest.Launch(t, launcher, "echo"))
			require.Equal(t, map[int]int64{c.status: int64(c.requests)}, f.swarm(c.requests, "Bearer x",
				"/api/v1/echo/secret", "/api/v1/platform/secret"))
			require.Zero(t, served.Load())
		})
	}
}

func failing(err error) func(context.Context, string) (auth.Identity, error) {
	return func(context.Context, string) (auth.Identity, error) { return ada(), err }
}

// swarm sends n requests, many at a time, to the paths in turn, and counts the answers by status.
func (f *fixture) swarm(n int, authorization string, paths ...string) map[int]int64 {
	f.t.Helper()
	var counts [600]atomic.Int64
	var next atomic.Int64
	var clients sync.WaitGroup
	for range 100 {
		clients.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				r := httptest.NewRequestWithContext(f.t.Context(), http.MethodGet, paths[int(i)%len(paths)], nil)
				r.Header.Set("Authorization", authorization)
				w := httptest.NewRecorder()
				f.gateway.Handler().ServeHTTP(w, r)
				counts[w.Code].Add(1)
			}
		})
	}
	clients.Wait()
	found := map[int]int64{}
	for status := range counts {
		if count := counts[status].Load(); count > 0 {
			found[status] = count
		}
	}
	return found
}

// TestComplaintsAreSeldom: a broken authorizer must not fill the disk too.
func TestComplaintsAreSeldom(t *testing.T) {
	t.Parallel()
	f := start(t, func(d *Deps) {
		d.Authenticate, d.Platform = authenticateAda, ownTwins()
		d.Decide = decideBy(func(string, string) (bool, error) { return false, errors.New("no database") })
	})
	began := time.Now()
	f.swarm(1000, "Bearer x", "/api/v1/platform/secret")
	took := time.Since(began)
	complaints := strings.Count(f.log.String(), "could not be decided")
	require.Positive(t, complaints)
	require.LessOrEqual(t, complaints, 1+int(took/complaintPause))
}

// TestCookiesAuthenticateNobody, so that no page can use those of its visitor.
func TestCookiesAuthenticateNobody(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, func(d *Deps) { d.Platform = ownTwins() })
	for _, name := range strings.Fields("token access_token session Authorization authorization") {
		for _, value := range []string{goodToken, `"` + goodToken + `"`, "Bearer%20" + goodToken} {
			for _, path := range []string{"echo/secret", "echo/members", "platform/secret", "platform/members"} {
				f.get("/api/v1/"+path, "Cookie: "+name+"="+value).requireProblem(t, http.StatusUnauthorized, "unauthenticated")
			}
			require.Equal(t, link.Anonymous(), f.see("/api/v1/echo/public/x", "Cookie: "+name+"="+value).Principal)
		}
	}
}

// ticketOf makes a ticket that says for whom it is.
func ticketOf(caller auth.Identity, module, requestID string) (string, error) {
	return strings.Join([]string{caller.Principal.ID, caller.Session, module, requestID}, "/"), nil
}

// TestTickets: a module that may ask the core something gets a ticket for each caller it has, over either transport; no other
// module does.
func TestTickets(t *testing.T) {
	t.Parallel()
	var minted atomic.Int64
	f, inst := withEcho(t, func(d *Deps) {
		d.Authenticate, d.Decide = authenticateAda, decideBy(func(string, string) (bool, error) { return true, nil })
		d.Ticket = func(caller auth.Identity, module, requestID string) (string, error) {
			minted.Add(1)
			return ticketOf(caller, module, requestID)
		}
	})
	launcher := instancetest.Launcher(t)
	instances := map[string]*instance.Instance{"link": inst, "http1": instancetest.LaunchHTTP1(t, launcher, "echo")}
	for grants, granted := range map[string]bool{
		"": false, "database: true": false, "auth: [validate]": true, "identity: [read]": true, "authz: [check]": true,
		"audit: [write]": true, "cache: 1MiB": true,
	} {
		text := echoManifest
		if grants != "" {
			text += "grants: { " + grants + " }\n"
		}
		require.Empty(t, f.gateway.SetModules(modules(parse(t, text)), nil))
		for transport, inst := range instances {
			f.registry.Put("echo", inst)
			for _, path := range []string{"/api/v1/echo/public/x", "/api/v1/echo/members", "/api/v1/echo/secret"} {
				want := ""
				if granted {
					want = "u-1/s-1/echo/r1"
				}
				got := f.see(path, "Authorization: Bearer x", "X-Request-Id: r1")
				require.Equal(t, want, got.Ticket, "%s %s %s", grants, transport, path)
			}
			before := minted.Load()
			require.Empty(t, f.see("/api/v1/echo/public/x").Ticket, "nobody gets a ticket")
			require.Equal(t, before, minted.Load())
		}
	}
	require.EqualValues(t, 5*2*3, minted.Load())
}

// TestTicketsThatCannotBeMade keep the request from the module that would need one, and from no other.
func TestTicketsThatCannotBeMade(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, func(d *Deps) {
		d.Ticket = func(auth.Identity, string, string) (string, error) { return "half", errors.New("no key") }
	})
	require.Empty(t, f.see("/api/v1/echo/secret", "Authorization: Bearer "+goodToken).Ticket)
	require.Empty(t, f.gateway.SetModules(modules(parse(t, echoManifest+"grants: { authz: [check] }\n")), nil))
	p := f.get("/api/v1/echo/secret", "Authorization: Bearer "+goodToken).requireProblem(t, 503, "unavailable")
	require.NotContains(t, p.Detail, "no key")
	require.Contains(t, f.log.String(), "no key")
	require.Equal(t, link.Anonymous(), f.see("/api/v1/echo/public/x").Principal, "nobody needs none")
}

// TestDenialsSayWhere: those who watch learn who came from where, as far as that can be known.
func TestDenialsSayWhere(t *testing.T) {
	t.Parallel()
	told := &denials{}
	f, _ := withEcho(t, func(d *Deps) {
		d.Ruled = told.tell
		d.Server.TrustedProxies = []string{"127.0.0.1"}
	})
	f.get("/api/v1/echo/secret", "X-Request-Id: r1", "X-Forwarded-For: 198.51.100.7", "Authorization: Bearer "+otherToken,
		"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").requireProblem(t, 403, "permission_denied")
	got, _ := told.of("r1")
	require.Equal(t, Ruling{
		Principal: link.Principal{Kind: link.KindToken, ID: "tok-1", Name: "ci"}, Module: "echo", Route: "secret",
		Permission: "echo.thing.read", Reason: ReasonTokenLacks, RequestID: "r1", TraceID: "0af7651916cd43dd8448eb211c80319c",
		Address: "198.51.100.7",
	}, got)
	f.get("/api/v1/echo/public/x", "X-Request-Id: r2", "Authorization: Basic x").requireProblem(t, 401, "unauthenticated")
	got, _ = told.of("r2")
	require.Equal(t, ReasonMalformed, got.Reason)
	f.get("/api/v1/echo/public/x", "X-Request-Id: r3", "Authorization: Bearer "+brokenToken).requireProblem(t, 503, "unavailable")
	f.get("/api/v1/nosuch/x", "X-Request-Id: r4").requireProblem(t, 404, "not_found")
	require.Len(t, told.all, 2, "a failure is no denial, and what is not there denies nobody")
}

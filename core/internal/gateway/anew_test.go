package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
)

// TestWaitingRequestsAreDecidedOnAnew: while they wait, the module moves on to a manifest that says something else of the same
// ids, and no request may come to a process by the other one's word.
func TestWaitingRequestsAreDecidedOnAnew(t *testing.T) {
	t.Parallel()
	f := start(t, func(d *Deps) { d.Server.HoldTimeout = soon })
	require.Empty(t, f.gateway.SetModules(echoAlone(t), nil))
	f.registry.Remove("echo", "it is being upgraded", true)
	answers := map[string]chan answered{}
	for name, send := range map[string]func() answered{
		"public":  func() answered { return f.get("/api/v1/echo/public/x", "X-Forwarded-For: 192.0.2.1") },
		"secret":  func() answered { return f.get("/api/v1/echo/public/x", "Authorization: Bearer "+goodToken) },
		"post":    func() answered { return f.do(http.MethodPost, "/api/v1/echo/post", strings.NewReader("text")) },
		"members": func() answered { return f.get("/api/v1/echo/members", "Authorization: Bearer "+goodToken) },
	} {
		got := make(chan answered, 1)
		answers[name] = got
		go func() { got <- send() }()
	}
	require.Eventually(t, func() bool { return f.registry.Waiting() == len(answers) }, soon, time.Millisecond)

	closed := strings.NewReplacer(
		`path: "/public/{name}", access: public`, `path: "/public/{name}", permission: echo.thing.read`,
		"path: /members,", "path: /people,",
	).Replace(echoManifest)
	mod := parse(t, closed)
	mod.Revision = "next"
	put, refused := f.gateway.Prepare([]*catalog.Module{mod}, nil)
	require.Empty(t, refused)
	spec := instancetest.Spec(t, "echo")
	spec.Revision = "next"
	inst := instancetest.LaunchSpec(t, instancetest.Launcher(t), spec)
	f.registry.Switch("echo", []*instance.Instance{inst}, put)

	(<-answers["public"]).requireProblem(t, http.StatusUnauthorized, codeUnauthenticated)
	saw := (<-answers["secret"]).seen(t)
	require.Equal(t, "public", saw.Route)
	require.Equal(t, []string{"/api/v1/echo"}, saw.Header["X-Forwarded-Prefix"], "once")
	(<-answers["members"]).requireProblem(t, http.StatusNotFound, codeNotFound)
	require.Equal(t, "text", (<-answers["post"]).seen(t).Body)
}

// TestAProcessOfAnotherRevisionIsNotCalled, even where the routes do not move on.
func TestAProcessOfAnotherRevisionIsNotCalled(t *testing.T) {
	t.Parallel()
	f := start(t, func(*Deps) {})
	require.Empty(t, f.gateway.SetModules(echoAlone(t), nil))
	spec := instancetest.Spec(t, "echo")
	spec.Revision = "another"
	inst := instancetest.LaunchSpec(t, instancetest.Launcher(t), spec)
	f.registry.Put("echo", inst)
	f.get("/api/v1/echo/public/x").requireProblem(t, http.StatusServiceUnavailable, codeUnavailable)
	require.Zero(t, inst.InFlight())
}

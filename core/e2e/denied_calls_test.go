package e2e

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// deniedCall is what the tests read of an entry of the audit log.
type deniedCall struct {
	Actor struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	} `json:"actor"`
	Via      string `json:"via"`
	Resource string `json:"resource"`
	Details  struct {
		Reason string `json:"reason"`
	} `json:"details"`
}

// awaitDenied waits for the audit log to hold n denied calls of a module, and returns the newest.
func (p *platform) awaitDenied(via string, n int) (newest deniedCall) {
	p.t.Helper()
	p.await("a denied call to be written down", func() bool {
		var all, of []deniedCall
		log := p.cli("audit", "search", "--action", "module.call", "--outcome", "denied", "-o", "json")
		require.NoError(p.t, json.Unmarshal([]byte(log), &all))
		for _, entry := range all {
			if entry.Via == via {
				of = append(of, entry)
			}
		}
		if len(of) < n {
			return false
		}
		require.Len(p.t, of, n, "each is written down once")
		newest = of[0]
		return true
	})
	return newest
}

// TestServicesG11DeniedCallsAreAudited: whoever oversteps their manifest is refused, and the audit log says who did and why.
func TestServicesG11DeniedCallsAreAudited(t *testing.T) {
	t.Parallel()
	dir := newDir(t, "parrot", "crier")
	rename(t, dir, [2]string{"crier", "mute"}, "[platformd.echo.v1.EchoService]", "[platformd.echo.v1.EchoService/Ask]")
	rename(t, dir, [2]string{"crier", "stranger"}, "modules: { parrot: \"*\" }", "optional: { absent: \"*\" }",
		"[platformd.echo.v1.EchoService]", "[platformd.absent.v1.AbsentService]")
	p := launch(t, dir, options{})
	p.awaitReady()
	token := p.token("parrot.word.hear")
	taken := p.ticketOf("parrot", token)
	forged := url.Values{"platformd-caller": {"billing"}}.Encode()
	replayed := url.Values{"platformd-ticket": {taken}}.Encode()

	of := map[string]int{}
	for _, c := range []struct{ name, path, code, reason, actor string }{
		{
			"an undeclared consumer", "/stranger/calls/parrot/Ask", "PermissionDenied",
			"module stranger may not call platformd.echo.v1.EchoService/Ask", "token",
		},
		{
			"an undeclared method", "/mute/calls/parrot/Tell", "PermissionDenied",
			"module mute may not call platformd.echo.v1.EchoService/Tell", "token",
		},
		{
			"an undeclared module", "/mute/calls/crier/Ask", "PermissionDenied", "name \"crier\" under requires.modules", "token",
		},
		{"a forged caller", "/crier/calls/parrot/Ask?" + forged, "PermissionDenied", "may not set the metadata", "token"},
		{"a ticket beside one's own", "/crier/calls/parrot/Ask?" + replayed, "Unauthenticated", "show one ticket", "module"},
		{"a replayed ticket", "/crier/background/parrot/Ask?" + replayed, "Unauthenticated", "the ticket is not valid", "module"},
		{"one by a third module", "/mute/background/parrot/Ask?" + replayed, "Unauthenticated", "the ticket is not valid", "module"},
	} {
		told := p.cry(token, c.path, "x")
		require.Equal(t, c.code, told.Code, c.name)
		require.Contains(t, told.Error, c.reason, c.name)
		require.Contains(t, told.Error, "(fix: ", c.name)
		path, _, _ := strings.Cut(c.path, "?")
		parts := strings.Split(path, "/")
		via, callee, method := parts[1], parts[3], parts[4]
		of[via]++
		entry := p.awaitDenied(via, of[via])
		require.Equal(t, callee+"/platformd.echo.v1.EchoService/"+method, entry.Resource, c.name)
		require.Contains(t, entry.Details.Reason, c.reason, c.name)
		require.Equal(t, c.actor, entry.Actor.Kind, c.name)
	}
	require.NotContains(t, p.cli("audit", "search", "-o", "json"), taken, "a ticket is not for the log")
	require.Equal(t, "OK", p.cry(token, "/crier/calls/parrot/Ask", "x").Code)
	require.Contains(t, p.cli("audit", "verify"), "nothing was changed")
}

// ticketOf has a module give away the ticket that it has for a call on behalf of the token.
func (p *platform) ticketOf(module, token string) string {
	p.t.Helper()
	told := p.cry(token, "/crier/calls/"+module+"/Ask", "ticket")
	require.Equal(p.t, "OK", told.Code, told.Error)
	_, ticket, found := strings.Cut(told.Answers[0], ", ")
	require.True(p.t, found)
	require.Regexp(p.t, "^pft_", ticket)
	return ticket
}

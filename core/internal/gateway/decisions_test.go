package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/link"
)

// situation is one combination of what a decision depends on.
type situation struct {
	Caller string `json:"caller"`
	Bound  string `json:"bound"`
	Index  string `json:"index"`
	Access string `json:"access"`
}

// decision is a row of testdata/decisions.json.
type decision struct {
	situation
	Status int `json:"status"`
}

func situations() (all []situation) {
	for _, caller := range strings.Fields("nobody stranger unchecked kindless idless anonymous user token module robot") {
		for _, bound := range strings.Fields("none empty match other") {
			for _, index := range strings.Fields("yes no error absent") {
				for _, access := range strings.Fields("public authenticated permission") {
					all = append(all, situation{caller, bound, index, access})
				}
			}
		}
	}
	return all
}

// covers tells whether the row is about s.
func (d *decision) covers(s situation) bool {
	fits := func(pattern, value string) bool { return pattern == "*" || pattern == value }
	return fits(d.Caller, s.Caller) && fits(d.Bound, s.Bound) && fits(d.Index, s.Index) && fits(d.Access, s.Access)
}

// decisions reads the table: the status of every situation.
func decisions(t *testing.T) map[situation]int {
	t.Helper()
	text, err := os.ReadFile("testdata/decisions.json")
	require.NoError(t, err)
	var table struct {
		About []string   `json:"about"`
		Rows  []decision `json:"rows"`
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&table))
	used, decided := map[int]bool{}, map[situation]int{}
	for _, s := range situations() {
		for i := range table.Rows {
			if !table.Rows[i].covers(s) {
				continue
			}
			require.Zero(t, decided[s], "two rows are about %+v", s)
			decided[s], used[i] = table.Rows[i].Status, true
		}
		require.NotZero(t, decided[s], "no row is about %+v", s)
	}
	require.Len(t, used, len(table.Rows), "a row is about nothing")
	return decided
}

// who is the principal of a situation's caller; its id says what the index says of it.
func (s situation) who() link.Principal {
	p := link.Principal{Kind: s.Caller, ID: s.Index + "-1", Name: "Ada"}
	switch s.Caller {
	case "nobody", "stranger", "unchecked":
		return link.Anonymous()
	case "kindless":
		p.Kind = ""
	case "idless":
		p.Kind, p.ID = link.KindUser, ""
	}
	return p
}

func (s situation) authorization() []string {
	if s.Caller == "nobody" {
		return nil
	}
	return []string{"Authorization: Bearer " + strings.Join([]string{s.Caller, s.Bound, s.Index}, "/")}
}

// authenticateSituation reads the token that authorization makes.
func authenticateSituation(_ context.Context, secret string) (auth.Identity, error) {
	parts := strings.Split(secret, "/")
	s := situation{Caller: parts[0], Bound: parts[1], Index: parts[2]}
	identity := auth.Identity{Principal: s.who(), Session: "s-1", Permissions: map[string][]string{
		"none": nil, "empty": {}, "match": {"billing.*", "echo.thing.*"}, "other": {"echo.thing.write", "echo.things.*"},
	}[s.Bound]}
	switch s.Caller {
	case "stranger":
		return identity, fmt.Errorf("look: %w", auth.ErrInvalidToken)
	case "unchecked":
		identity.Principal = link.Principal{Kind: link.KindUser, ID: "yes-1"}
		return identity, errors.New("the database is away")
	}
	return identity, nil
}

// indexOf plays the authorizer's index for users; nil knows nobody.
type indexOf func(user, permission string) (bool, error)

func (f indexOf) Allows(user, permission string) (bool, error) {
	if f == nil {
		return false, nil
	}
	return f(user, permission)
}

func (indexOf) Declared(string) bool { return true }

// decideBy decides as authz does, by an index.
func decideBy(index indexOf) func(authz.Holder, string) (bool, error) {
	return func(who authz.Holder, permission string) (bool, error) { return authz.Decide(index, who, permission) }
}

// allowsSituation is the authorizer's index.
func allowsSituation(user, permission string) (bool, error) {
	if permission != "echo.thing.read" {
		return false, errors.New("nothing asks for " + permission)
	}
	switch user {
	case "yes-1":
		return true, nil
	case "error-1":
		return true, errors.New("the index is broken")
	}
	return false, nil
}

// ownTwins are routes of the platform that ask for the same as those of the echo module.
func ownTwins() []PlatformRoute {
	tell := func(w http.ResponseWriter, r *http.Request, caller auth.Identity) error {
		return pluginapi.WriteJSON(w, http.StatusOK, seen{Route: "own", Path: r.URL.Path, Principal: caller.Principal})
	}
	return []PlatformRoute{
		{ID: "public", Method: "GET", Path: "/api/v1/platform/public/{name}", Access: "public", Serve: tell},
		{ID: "members", Method: "GET", Path: "/api/v1/platform/members", Access: "authenticated", Serve: tell},
		{ID: "secret", Method: "GET", Path: "/api/v1/platform/secret", Permission: "echo.thing.read", Serve: tell},
	}
}

// denials collects what Deps.Ruled is told, by request id.
type denials struct {
	mu  sync.Mutex
	all map[string]Ruling
}

func (d *denials) tell(denial Ruling) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all == nil {
		d.all = map[string]Ruling{}
	}
	d.all[denial.RequestID] = denial
}

func (d *denials) of(requestID string) (Ruling, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	denial, told := d.all[requestID]
	return denial, told
}

// TestDecisions: the gateway decides as the table says, for modules and for the platform itself, and every denial is told.
func TestDecisions(t *testing.T) {
	t.Parallel()
	told := &denials{}
	with := func(allows func(string, string) (bool, error)) func(*Deps) {
		return func(d *Deps) {
			d.Authenticate, d.Decide, d.Ruled, d.Platform = authenticateSituation, decideBy(allows), told.tell, ownTwins()
		}
	}
	indexed, inst := withEcho(t, with(allowsSituation))
	absent := start(t, with(nil))
	require.Empty(t, absent.gateway.SetModules(echoAlone(t), nil))
	absent.registry.Put("echo", inst)
	for s, status := range decisions(t) {
		f := indexed
		if s.Index == "absent" {
			f = absent
		}
		for _, module := range []string{"echo", "platform"} {
			f.requireDecided(s, module, status)
			if denial, denied := told.of(s.id(module)); status == http.StatusUnauthorized || status == http.StatusForbidden {
				require.True(t, denied, "%+v", s)
				requireTold(t, s, module, denial)
			} else {
				require.False(t, denied, "%+v: %+v", s, denial)
			}
		}
	}
}

func (s situation) id(module string) string {
	return strings.Join([]string{module, s.Caller, s.Bound, s.Index, s.Access}, ".")
}

func (s situation) route() string {
	return map[string]string{"public": "public", "authenticated": "members", "permission": "secret"}[s.Access]
}

func (f *fixture) requireDecided(s situation, module string, status int) {
	f.t.Helper()
	path := "/api/v1/" + module + "/" + map[string]string{"public": "public/x"}[s.route()]
	if s.Access != "public" {
		path += s.route()
	}
	answer := f.get(path, append(s.authorization(), "X-Request-Id: "+s.id(module))...)
	require.Equal(f.t, status, answer.status, "%s: %+v: %s", module, s, answer.body)
	if status == http.StatusOK {
		require.Equal(f.t, s.who(), answer.seen(f.t).Principal, "%s: %+v", module, s)
		return
	}
	code := map[int]string{401: "unauthenticated", 403: "permission_denied", 503: "unavailable"}[status]
	p := answer.requireProblem(f.t, status, code)
	if status == http.StatusForbidden && s.Access == "permission" && (s.Caller == link.KindUser || s.Caller == link.KindToken) {
		require.Regexp(f.t, `^(you lack|the token lacks) the permission echo\.thing\.read$`, p.Detail)
	}
}

func requireTold(t *testing.T, s situation, module string, got Ruling) {
	t.Helper()
	want := Ruling{
		Principal: s.who(), Module: module, Route: s.route(), RequestID: s.id(module), Address: "127.0.0.1",
		Reason: got.Reason, TraceID: got.TraceID,
	}
	if s.Access == "permission" {
		want.Permission = "echo.thing.read"
	}
	require.Equal(t, want, got)
	require.Regexp(t, "^[0-9a-f]{32}$", got.TraceID)
	reason := map[string]string{"nobody": ReasonNoCredentials, "stranger": ReasonInvalid, "token": ReasonTokenLacks,
		"module": ReasonKind, "robot": ReasonKind, "user": ReasonTokenLacks}[s.Caller]
	if s.Caller == "user" && (s.Bound == "none" || s.Bound == "match") {
		reason = ReasonUserLacks
	}
	require.Equal(t, reason, got.Reason, "%+v", s)
}

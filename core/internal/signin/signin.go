// Package signin is how people come to a session over HTTP: sign in and out, refresh, choose a password by a one-use link, set
// the platform up, come from another provider. Its routes are below /api/v1/platform on the gateway.
//
// Floor 4. It must not judge credentials (auth, identity) or decide what somebody may do (authz): it speaks HTTP for them, and
// writes down how it went.
package signin

import (
	"context"
	"errors"
	"mime"
	"net"
	"net/http"

	"github.com/hashicorp/go-hclog"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/core/internal/jsonbody"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/problem"
)

// Deps is what the routes work with. All fields are required.
type Deps struct {
	Auth     *auth.Service
	Identity *identity.Service
	Audit    *audit.Service
	// Permissions lists what somebody may do.
	Permissions func(who auth.Identity) ([]string, error)
	// Administrator makes the first user one, in the transaction that makes the user; Appointed is called after it.
	Administrator identity.Then
	Appointed     func(ctx context.Context) error
	// URL is under which clients reach the platform, without a slash at its end.
	URL func() string
	Log hclog.Logger
}

// Route is one entry. Public ones are open to everybody, the others to whoever has valid credentials.
type Route struct {
	ID     string
	Method string
	Path   string // below /api/v1/platform
	Public bool
	Serve  func(w http.ResponseWriter, r *http.Request, caller auth.Identity) error
}

// Routes returns:
//
//	GET    /jwks.json                      the public keys of access tokens (RFC 7517)
//	POST   /auth/login                     {"email", "password"} → tokens
//	POST   /auth/refresh                   {"refresh_token"} → tokens
//	POST   /auth/logout                    ends the caller's session
//	GET    /auth/me                        who the caller is, and what they may do
//	GET    /auth/sessions                  {"items"}: the caller's
//	DELETE /auth/sessions/{id}
//	POST   /auth/password                  {"old_password", "new_password"}
//	GET    /auth/providers                 {"items"}: the names of other providers
//	GET    /auth/providers/{name}/begin    redirects to the provider
//	GET    /auth/providers/{name}/finish   where the provider sends people back to → tokens
//	POST   /auth/providers/{name}/exchange {"id_token"} → tokens
//	GET    /setup, POST /setup             a form; {"token", "email", "name", "password"}, as JSON or form → the administrator
//	GET    /password, POST /password       a form; {"token", "password"}: what an invitation or a reset leads to
func Routes(deps Deps) []Route {
	s := &signin{deps: deps}
	return []Route{
		{ID: "jwks", Method: http.MethodGet, Path: "/jwks.json", Public: true, Serve: s.jwks},
		{ID: "login", Method: http.MethodPost, Path: "/auth/login", Public: true, Serve: s.login},
		{ID: "refresh", Method: http.MethodPost, Path: "/auth/refresh", Public: true, Serve: s.refresh},
		{ID: "logout", Method: http.MethodPost, Path: "/auth/logout", Serve: s.logout},
		{ID: "me", Method: http.MethodGet, Path: "/auth/me", Serve: s.me},
		{ID: "sessions", Method: http.MethodGet, Path: "/auth/sessions", Serve: s.sessions},
		{ID: "endSession", Method: http.MethodDelete, Path: "/auth/sessions/{id}", Serve: s.endSession},
		{ID: "changePassword", Method: http.MethodPost, Path: "/auth/password", Serve: s.changePassword},
		{ID: "providers", Method: http.MethodGet, Path: "/auth/providers", Public: true, Serve: s.providers},
		{ID: "beginProvider", Method: http.MethodGet, Path: "/auth/providers/{name}/begin", Public: true, Serve: s.begin},
		{ID: "finishProvider", Method: http.MethodGet, Path: "/auth/providers/{name}/finish", Public: true, Serve: s.finish},
		{ID: "exchangeProvider", Method: http.MethodPost, Path: "/auth/providers/{name}/exchange", Public: true, Serve: s.exchange},
		{ID: "setupForm", Method: http.MethodGet, Path: "/setup", Public: true, Serve: s.setupForm},
		{ID: "setup", Method: http.MethodPost, Path: "/setup", Public: true, Serve: s.setup},
		{ID: "passwordForm", Method: http.MethodGet, Path: "/password", Public: true, Serve: s.passwordForm},
		{ID: "password", Method: http.MethodPost, Path: "/password", Public: true, Serve: s.password},
	}
}

type signin struct{ deps Deps }

// clientOf tells who is at the other end. The gateway has put the client's own address into RemoteAddr.
func clientOf(r *http.Request) auth.Client {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return auth.Client{Address: host, UserAgent: r.UserAgent()}
}

// record writes down how it went. What anybody can cause without credentials is written as far as there is room for it.
func (s *signin) record(ctx context.Context, r *http.Request, e audit.Entry) {
	e.Address, e.RequestID = clientOf(r).Address, r.Header.Get("X-Request-Id")
	if e.Actor.Kind == "" {
		e.Actor = link.Anonymous()
	}
	if e.Outcome != audit.Done {
		s.deps.Audit.TryWrite(e)
		return
	}
	if err := s.deps.Audit.Write(ctx, e); err != nil {
		s.deps.Log.Error("the audit log misses what was done", "action", e.Action, "actor", e.Actor.ID, "error", err)
	}
}

// refused turns the error of a room into the client's.
func refused(err error) error {
	var many *auth.TooManyError
	switch {
	case errors.As(err, &many):
		p := problem.New(http.StatusTooManyRequests, "resource_exhausted", many.Error())
		p.RetryAfter = many.RetryAfter
		return p
	case errors.Is(err, auth.ErrBadCredentials), errors.Is(err, identity.ErrBadCredentials), errors.Is(err, auth.ErrSessionEnded),
		errors.Is(err, auth.ErrExternalRefused):
		return problem.New(http.StatusUnauthorized, "unauthenticated", err.Error())
	case errors.Is(err, identity.ErrNotFound): // deleted meanwhile, by another daemon: it is not known here yet
		return problem.New(http.StatusUnauthorized, "unauthenticated", auth.ErrSessionEnded.Error())
	case errors.Is(err, identity.ErrLinkInvalid), errors.Is(err, identity.ErrLinkUsed), errors.Is(err, identity.ErrLinkExpired),
		errors.Is(err, identity.ErrSetupDone):
		return problem.New(http.StatusForbidden, "permission_denied", err.Error())
	case errors.Is(err, auth.ErrUnknownIssuer), errors.Is(err, auth.ErrNoSession):
		return problem.New(http.StatusNotFound, "not_found", err.Error())
	}
	var down *auth.IssuerError
	if errors.As(err, &down) {
		return problem.New(http.StatusServiceUnavailable, "unavailable",
			"the provider cannot be reached at the moment (fix: try again later)")
	}
	return err
}

// outcome is how something ended that err came of.
func outcome(err error) audit.Outcome {
	if p, _ := problem.FromError(refused(err)); p.Status >= http.StatusInternalServerError {
		return audit.Failed
	}
	return audit.Denied
}

// readJSON reads a body that says that it is JSON. No other site can have a browser send such a one.
func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		return unsupported("application/json")
	}
	return jsonbody.Read(w, r, into)
}

func unsupported(wanted string) error {
	return problem.New(http.StatusUnsupportedMediaType, "invalid_argument",
		"the body is not of a kind that is taken here (fix: send the header Content-Type, with "+wanted+")")
}

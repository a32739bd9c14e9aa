package gateway

import (
	"errors"
	"net/http"
	"strings"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/problem"
)

// admit returns who sends the request, if that may use the route, and tells Deps.Ruled what is worth it. Bad credentials
// are refused on public routes too: who sends them believes to be somebody.
func (rt *route) admit(r *http.Request) (auth.Identity, error) {
	credentials := r.Header["Authorization"]
	if len(credentials) == 0 && rt.open() {
		return auth.Identity{Principal: link.Anonymous()}, nil
	}
	identity, err := rt.gateway.identity(r, credentials)
	if err == nil {
		err = rt.decide(identity)
	}
	rt.tell(r, identity.Principal, err)
	if err != nil {
		return auth.Identity{}, err
	}
	return identity, nil
}

// open tells whether anybody may use the route.
func (rt *route) open() bool { return rt.Access == manifest.AccessPublic && rt.Permission == "" }

// decide returns nil if the route is for the one with that identity.
func (rt *route) decide(identity auth.Identity) error {
	if rt.open() {
		return nil
	}
	kind := identity.Principal.Kind
	switch {
	case kind != link.KindUser && kind != link.KindToken:
		return forbidden(ReasonKind, "this is not for a "+kind)
	case rt.Permission == "" && rt.Access == manifest.AccessAuthenticated:
		return nil
	}
	return rt.decidePermission(authz.Holder{Principal: identity.Principal, Bound: identity.Permissions})
}

// decidePermission asks what the holder may. What cannot be found out is refused, and no fault of the caller's.
func (rt *route) decidePermission(who authz.Holder) error {
	g, may := rt.gateway, false
	if g.decide != nil {
		var err error
		if may, err = g.decide(who, rt.Permission); err != nil {
			if g.undecided.now() {
				g.log.Error("a permission could not be decided on; requests that need it are refused", "caller", who.Principal.ID,
					"permission", rt.Permission, "error", err)
			}
			return unavailable("whether you may do this cannot be decided at the moment", retrySoon)
		}
	}
	switch {
	case may:
		return nil
	case who.Principal.Kind == link.KindToken || who.Bound != nil && !authz.Allows(who.Bound, rt.Permission):
		return forbidden(ReasonTokenLacks, "the token lacks the permission "+rt.Permission)
	}
	return forbidden(ReasonUserLacks, "you lack the permission "+rt.Permission)
}

// identity returns whose the credentials are. It lets nobody in by mistake: what cannot be judged is refused.
func (g *Gateway) identity(r *http.Request, credentials []string) (auth.Identity, error) {
	if len(credentials) == 0 {
		return auth.Identity{}, unauthenticated(ReasonNoCredentials,
			"this needs a token: send it as Authorization: Bearer TOKEN")
	}
	secret, ok := bearer(credentials)
	if !ok {
		return auth.Identity{}, unauthenticated(ReasonMalformed, "send one Authorization header, in the form Bearer TOKEN")
	}
	ctx := &lazyDeadline{Context: r.Context(), limit: g.timeouts.auth}
	defer ctx.end()
	identity, err := g.authenticate(ctx, secret) //nolint:contextcheck // it is the request's, with a deadline
	switch {
	case err == nil && validPrincipal(identity.Principal):
		return identity, nil
	case errors.Is(err, auth.ErrInvalidToken):
		return auth.Identity{}, unauthenticated(ReasonInvalid,
			"the token is unknown, expired or revoked: get a new one with `platformd token create`")
	case r.Context().Err() != nil:
		return auth.Identity{}, errClientGone
	}
	if g.unchecked.now() {
		g.log.Error("a token could not be checked; requests with it are refused", "request_id", r.Header.Get(headerRequestID),
			"principal", identity.Principal.Kind, "error", err)
	}
	return auth.Identity{}, unavailable("tokens cannot be checked at the moment", retrySoon)
}

// validPrincipal tells whether somebody has been authenticated.
func validPrincipal(p link.Principal) bool {
	return p.Kind != "" && p.Kind != link.KindAnonymous && p.ID != ""
}

// ticket returns what stands for the caller when the module asks something of the core; empty if it may ask nothing, or
// nobody calls.
func (rt *route) ticket(r *http.Request, caller auth.Identity) (string, error) {
	g := rt.gateway
	if !rt.asks || g.ticket == nil || caller.Principal.Kind == link.KindAnonymous {
		return "", nil
	}
	ticket, err := g.ticket(caller, rt.module, r.Header.Get(headerRequestID))
	if err == nil {
		return ticket, nil
	}
	if g.ticketless.now() {
		g.log.Error("a ticket could not be made; requests that need one are refused", "module", rt.module, "error", err)
	}
	return "", unavailable("the module cannot be told who you are at the moment", retrySoon)
}

// asksCore tells whether a module may ask the core anything in a caller's name, or call another module.
func asksCore(m *manifest.Manifest) bool {
	grants := &m.Grants
	lists := len(grants.Auth) + len(grants.Identity) + len(grants.Authz) + len(grants.Audit) + len(m.Services.Consumes)
	return lists > 0 || grants.Cache > 0
}

// bearer returns the token of a request's only Authorization header (RFC 6750, section 2.1).
func bearer(credentials []string) (secret string, ok bool) {
	if len(credentials) != 1 {
		return "", false
	}
	scheme, secret, _ := strings.Cut(credentials[0], " ")
	secret = strings.TrimLeft(secret, " ")
	if !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return "", false
	}
	for i := range len(secret) {
		if b := secret[i]; b <= ' ' || b >= 0x7f || b == ',' {
			return "", false
		}
	}
	return secret, true
}

func unauthenticated(reason, detail string) error {
	return &deniedError{reason, problem.New(http.StatusUnauthorized, codeUnauthenticated, detail)}
}

func forbidden(reason, detail string) error {
	return &deniedError{reason, problem.New(http.StatusForbidden, codePermissionDenied, detail)}
}

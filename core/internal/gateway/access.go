package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/problem"
)

// admit returns who sends the request, if that may use the route. Bad credentials are refused on public routes too: who
// sends them believes to be somebody.
func (rt *route) admit(r *http.Request) (link.Principal, error) {
	credentials := r.Header["Authorization"]
	if len(credentials) == 0 {
		if rt.Access == manifest.AccessPublic {
			return link.Anonymous(), nil
		}
		return link.Principal{}, problem.New(http.StatusUnauthorized, codeUnauthenticated,
			"this needs a token: send it as Authorization: Bearer TOKEN")
	}
	identity, err := rt.gateway.identity(r, credentials)
	if err != nil {
		return link.Principal{}, err
	}
	if !rt.allows(identity) {
		return link.Principal{}, problem.New(http.StatusForbidden, codePermissionDenied,
			fmt.Sprintf("the token lacks the permission %s", rt.Permission))
	}
	return identity.Principal, nil
}

func (rt *route) allows(identity auth.Identity) bool {
	switch rt.Access {
	case manifest.AccessPublic, manifest.AccessAuthenticated:
		return true
	}
	return rt.Permission != "" && authz.Allows(identity.Permissions, rt.Permission)
}

// identity returns whose the credentials are. It lets nobody in by mistake: what cannot be judged is refused.
func (g *Gateway) identity(r *http.Request, credentials []string) (auth.Identity, error) {
	secret, ok := bearer(credentials)
	if !ok {
		return auth.Identity{}, problem.New(http.StatusUnauthorized, codeUnauthenticated,
			"send one Authorization header, in the form Bearer TOKEN")
	}
	ctx, cancel := context.WithTimeout(r.Context(), g.timeouts.auth)
	defer cancel()
	identity, err := g.authenticate(ctx, secret)
	switch {
	case err == nil && validPrincipal(identity.Principal):
		return identity, nil
	case errors.Is(err, auth.ErrInvalidToken):
		return auth.Identity{}, problem.New(http.StatusUnauthorized, codeUnauthenticated,
			"the token is unknown, expired or revoked: get a new one with `platformd token create`")
	case r.Context().Err() != nil:
		return auth.Identity{}, errClientGone
	}
	g.log.Error("a token could not be checked; the request was refused", "request_id", r.Header.Get(headerRequestID),
		"principal", identity.Principal.Kind, "error", err)
	return auth.Identity{}, unavailable("tokens cannot be checked at the moment", retrySoon)
}

// validPrincipal tells whether somebody has been authenticated.
func validPrincipal(p link.Principal) bool {
	return p.Kind != "" && p.Kind != link.KindAnonymous && p.ID != ""
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

package signin

import (
	"errors"
	"net/http"
	"strings"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/jsonbody"
)

// stateCookie holds what Begin gave until the client comes back. It goes to our own finish only.
const stateCookie = "platformd_signin"

// prefix is where the gateway serves the routes.
const prefix = "/api/v1/platform"

func finishPath(provider string) string { return prefix + "/auth/providers/" + provider + "/finish" }

func (s *signin) providers(w http.ResponseWriter, _ *http.Request, _ auth.Identity) error {
	return jsonbody.Write(w, http.StatusOK, list[string]{Items: append([]string{}, s.deps.Auth.Issuers()...)})
}

func (s *signin) begin(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	name := r.PathValue("name")
	back := s.deps.URL() + finishPath(name)
	location, state, err := s.deps.Auth.Begin(r.Context(), name, back)
	if err != nil {
		return refused(err)
	}
	http.SetCookie(w, s.cookie(name, state, stateSeconds))
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, location, http.StatusFound)
	return nil
}

// stateSeconds is as long as a sign-in may take at the provider.
const stateSeconds = 600

// cookie is sent back when the provider redirects to us, from another site: hence Lax.
func (s *signin) cookie(provider, state string, seconds int) *http.Cookie {
	return &http.Cookie{
		Name: stateCookie, Value: state, Path: finishPath(provider), MaxAge: seconds, HttpOnly: true,
		Secure: strings.HasPrefix(s.deps.URL(), "https:"), SameSite: http.SameSiteLaxMode,
	}
}

func (s *signin) finish(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	name, state := r.PathValue("name"), ""
	if cookie, err := r.Cookie(stateCookie); err == nil {
		state = cookie.Value
	}
	tokens, err := s.deps.Auth.Finish(r.Context(), auth.Callback{
		Issuer: name, StateCookie: state, Query: r.URL.Query(), Client: clientOf(r),
	})
	if !errors.Is(err, auth.ErrUnknownIssuer) { // whose name may be anything, such as no path of a cookie
		http.SetCookie(w, s.cookie(name, "", -1))
	}
	return s.signedIn(w, r, attempt{"auth.login", "provider/" + name, tokens, err})
}

func (s *signin) exchange(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	var asked struct {
		IDToken string `json:"id_token"`
	}
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	name := r.PathValue("name")
	tokens, err := s.deps.Auth.Exchange(r.Context(), name, asked.IDToken, clientOf(r))
	return s.signedIn(w, r, attempt{"auth.login", "provider/" + name, tokens, err})
}

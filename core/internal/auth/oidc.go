package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/platformd/platformd/core/internal/canonical"
)

// maxIDToken bounds the bytes of an ID token that are looked at.
const maxIDToken = 32 << 10

var (
	// ErrUnknownIssuer means that no provider of that name is configured.
	ErrUnknownIssuer = errors.New("there is no such provider to sign in with (fix: see auth.oidc in the configuration)")
	// ErrExternalRefused is what a sign-in gets that the provider does not, or not in time and form, confirm; or whose user is
	// not known here, or disabled. The log says which.
	ErrExternalRefused = errors.New("the sign-in was not confirmed (fix: begin it again, or ask an administrator for an account)")
)

// Issuer is another provider that people may sign in with (OpenID Connect).
type Issuer struct {
	Name         string // in URLs: lower-case letters, digits, - and _
	URL          string // as its discovery document has it; https, except on this host
	ClientID     string
	ClientSecret string   // "" = a public client
	Audience     string   // whom the ID tokens of machines are for (Exchange); "" = ClientID
	Scopes       []string // beside openid; nil: profile, email
	// RoleClaim names the claim with a user's groups or the like, the names of nested ones joined by dots; "" = none. Roles says
	// which roles each of its values is worth.
	RoleClaim   string
	Roles       map[string][]string
	AllowSignUp bool // whom the provider knows, and nobody here, gets an account
}

// External is somebody whom a provider knows. What its token says has been verified, except that it is not ours.
type External struct {
	Issuer        string // its name
	URL           string
	Subject       string // with URL, for ever the same person
	Email         string
	EmailVerified bool // the provider vouches for Email: without that it must not be taken for an account's
	Name          string
	AllowSignUp   bool
}

// IssuerError means that a provider could not be asked. It says which.
type IssuerError struct {
	Issuer string
	Err    error
}

// Error implements error. What a provider answered may be long.
func (e *IssuerError) Error() string {
	reason := e.Err.Error()
	if len(reason) > maxReason {
		reason = reason[:maxReason] + "…"
	}
	return fmt.Sprintf("the provider %s cannot be asked: %q (fix: try again later; see that its url in auth.oidc is right, and can "+
		"be reached from here)", e.Issuer, reason)
}

// maxReason bounds, in bytes, what is told of a provider's answer.
const maxReason = 300

// Unwrap returns the reason.
func (e *IssuerError) Unwrap() error { return e.Err }

// Issuers returns the names of the providers, in the order of Options.OIDC.
func (s *Service) Issuers() []string {
	names := make([]string, len(s.options.OIDC))
	for i := range s.options.OIDC {
		names[i] = s.options.OIDC[i].Name
	}
	return names
}

func (s *Service) issuer(name string) (*issuer, error) {
	if found, ok := s.issuers[name]; ok {
		return found, nil
	}
	return nil, ErrUnknownIssuer
}

// Begin begins a sign-in with a provider (authorization code flow with PKCE). The client is sent to location, and keeps
// stateCookie until it comes back to redirectURL, for Finish.
func (s *Service) Begin(ctx context.Context, name, redirectURL string) (location, stateCookie string, err error) {
	i, err := s.issuer(name)
	if err != nil {
		return "", "", err
	}
	p, err := i.ready(ctx)
	if err != nil {
		return "", "", err
	}
	st := state{
		Issuer: name, State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Redirect: redirectURL,
		Expires: s.now().Add(stateTTL).Unix(),
	}
	stateCookie, err = s.seal(&st)
	if err != nil {
		return "", "", err
	}
	location = p.oauth(redirectURL).AuthCodeURL(st.State, oidc.Nonce(st.Nonce), oauth2.S256ChallengeOption(st.Verifier))
	return location, stateCookie, nil
}

// Callback is how a client comes back from a provider.
type Callback struct {
	Issuer      string // name
	StateCookie string
	Query       url.Values
	Client      Client
}

// Finish ends what Begin began: it has the provider confirm who the client is, and begins a session. It returns ErrUnknownIssuer,
// ErrExternalRefused, or an *IssuerError; any other error means that it could not find out.
func (s *Service) Finish(ctx context.Context, back Callback) (Tokens, error) {
	i, err := s.issuer(back.Issuer)
	if err != nil {
		return Tokens{}, err
	}
	st, err := s.unseal(ctx, back.StateCookie)
	if err != nil {
		return Tokens{}, err
	}
	code, err := i.code(st, back.Query)
	if err != nil {
		return Tokens{}, s.refused(i, err)
	}
	p, err := i.ready(ctx)
	if err != nil {
		return Tokens{}, err
	}
	token, err := p.redeem(ctx, code, st)
	if err != nil {
		return Tokens{}, s.refused(i, err)
	}
	return s.enter(ctx, i, token, back.Client)
}

// Exchange begins a session for a machine that has an ID token for Issuer.Audience. Its errors are those of Finish.
func (s *Service) Exchange(ctx context.Context, name, idToken string, client Client) (Tokens, error) {
	i, err := s.issuer(name)
	if err != nil {
		return Tokens{}, err
	}
	p, err := i.ready(ctx)
	if err != nil {
		return Tokens{}, err
	}
	token, err := p.verify(ctx, idToken, i.audience())
	if err != nil {
		return Tokens{}, s.refused(i, err)
	}
	return s.enter(ctx, i, token, client)
}

// refused logs why a sign-in is refused, which the client is not told; an error that is no verdict is returned as it is.
func (s *Service) refused(i *issuer, err error) error {
	var unjudged *IssuerError
	if errors.As(err, &unjudged) {
		return err
	}
	reason := err.Error()
	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}
	s.options.Log.Info("a sign-in with a provider was refused", "provider", i.Name, "reason", reason)
	return ErrExternalRefused
}

// code returns what the provider gave the client, if the client is the one that began.
func (i *issuer) code(st *state, query url.Values) (string, error) {
	switch {
	case st == nil || st.Issuer != i.Name:
		return "", errors.New("the state cookie is missing, too old, or of another sign-in")
	case len(query["state"]) != 1 || subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(st.State)) != 1:
		return "", errors.New("the state is not that of the cookie")
	case query.Has("iss") && query.Get("iss") != i.URL: // RFC 9207
		return "", errors.New("the answer is that of another provider")
	case query.Has("error"):
		return "", fmt.Errorf("the provider said %q", clean(query.Get("error"), 100))
	case len(query["code"]) != 1 || query.Get("code") == "":
		return "", errors.New("the provider gave no code")
	}
	return query.Get("code"), nil
}

// enter begins a session for whom a provider vouches.
func (s *Service) enter(ctx context.Context, i *issuer, token *oidc.IDToken, client Client) (Tokens, error) {
	who, err := i.external(token)
	if err != nil {
		return Tokens{}, s.refused(i, err)
	}
	if s.options.Users.External == nil {
		return Tokens{}, errors.New("sign in with a provider: there are no accounts (fix: set Options.Users)")
	}
	user, err := s.options.Users.External(ctx, who.External)
	switch {
	case errors.Is(err, ErrNoUser), err == nil && (user.Disabled || user.ID == ""):
		return Tokens{}, s.refused(i, errors.New("its user has no account here, or a disabled one"))
	case err != nil:
		return Tokens{}, fmt.Errorf("look up the user of provider %s: %w", i.Name, err)
	}
	if i.RoleClaim != "" && s.options.Roles != nil {
		if err := s.options.Roles(ctx, user.ID, i.Name, who.roles); err != nil {
			return Tokens{}, fmt.Errorf("give the roles of provider %s: %w", i.Name, err)
		}
	}
	return s.begin(ctx, &user, client)
}

// Limits of what is taken from an ID token.
const (
	maxSubject = 255 // bytes (OpenID Connect Core, section 2)
	maxEmail   = 320 // bytes
)

// known is an External with the roles that its claims are worth.
type known struct {
	External
	roles []string
}

func (i *issuer) external(token *oidc.IDToken) (*known, error) {
	var c struct {
		Email    string `json:"email"`
		Verified any    `json:"email_verified"`
		Name     string `json:"name"`
	}
	var all map[string]any
	if err := errors.Join(token.Claims(&c), token.Claims(&all)); err != nil {
		return nil, err
	}
	if token.Subject == "" || len(token.Subject) > maxSubject || !utf8.ValidString(token.Subject) {
		return nil, errors.New("the ID token names no subject")
	}
	if len(c.Email) > maxEmail || !canonical.Printable(c.Email) {
		return nil, errors.New("the ID token holds an email that is none")
	}
	return &known{
		External: External{
			Issuer: i.Name, URL: i.URL, Subject: token.Subject, Email: c.Email, Name: clean(c.Name, maxName),
			EmailVerified: c.Email != "" && (c.Verified == true || c.Verified == "true"), // some write it as text
			AllowSignUp:   i.AllowSignUp,
		},
		roles: i.rolesOf(all),
	}, nil
}

package auth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	// issuerWait bounds each request to a provider.
	issuerWait = 5 * time.Second
	// issuerPause is how long a provider that could not be asked is left alone.
	issuerPause = 5 * time.Second
	// maxAnswer bounds the bytes of a provider's answer.
	maxAnswer = 1 << 20
)

// issuer is a provider, which is asked when somebody first wants to sign in with it. It is safe for concurrent use.
type issuer struct {
	Issuer
	client  *http.Client
	now     func() time.Time
	found   atomic.Pointer[provider]
	finding chan struct{} // whoever is in it looks, and owns what follows
	tried   time.Time
	failed  error
}

// provider is an issuer whose discovery document has been read. It does not change.
type provider struct {
	issuer    *issuer
	discovery *oidc.Provider
	endpoint  oauth2.Endpoint
	keys      *keySetOf
}

var issuerName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

func (s *Service) addIssuer(settings Issuer) error {
	complain := func(what, fix string) error {
		return fmt.Errorf("auth.oidc: provider %q %s (fix: %s)", settings.Name, what, fix)
	}
	u, err := url.Parse(settings.URL)
	switch {
	case !issuerName.MatchString(settings.Name):
		return complain("has a name that does not fit into a URL", "name it with a-z, 0-9, - and _")
	case s.issuers[settings.Name] != nil:
		return complain("is there twice", "give one of them another name")
	case settings.ClientID == "":
		return complain("has no clientID", "register platformd with the provider, and give the id it says")
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return complain("has no proper url", "give the issuer's, such as https://accounts.example.com")
	case !secure(u) && !local(u):
		return complain("has a url without https", "use https: whoever is on the way could sign in as anybody")
	}
	client := &http.Client{
		Timeout: issuerWait, Transport: newBounded(),
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it answered with a redirect (fix: configure the address that it leads to)")
		},
	}
	s.issuers[settings.Name] = &issuer{Issuer: settings, client: client, now: s.now, finding: make(chan struct{}, 1)}
	return nil
}

func secure(u *url.URL) bool { return u.Scheme == "https" }

// local tells whether nobody can be on the way.
func local(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

func (i *issuer) audience() string {
	if i.Audience != "" {
		return i.Audience
	}
	return i.ClientID
}

func (i *issuer) unavailable(err error) error { return &IssuerError{Issuer: i.Name, Err: err} }

// ready returns what the provider's discovery document says, which is read once. Those who come while somebody reads it wait for
// the same answer; one that failed is tried again after issuerPause.
func (i *issuer) ready(ctx context.Context) (*provider, error) {
	if found := i.found.Load(); found != nil {
		return found, nil
	}
	select {
	case i.finding <- struct{}{}:
		defer func() { <-i.finding }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if found := i.found.Load(); found != nil {
		return found, nil
	}
	now := i.now()
	if age := now.Sub(i.tried); i.failed != nil && age >= 0 && age < issuerPause {
		return nil, i.failed
	}
	i.tried = now
	found, err := i.discover(context.WithoutCancel(ctx)) // others wait for it; the client's Timeout bounds it
	if err != nil {
		i.failed = i.unavailable(err)
		return nil, i.failed
	}
	i.found.Store(found)
	return found, nil
}

func (i *issuer) discover(ctx context.Context) (*provider, error) {
	ctx = oidc.ClientContext(ctx, i.client)
	discovery, err := oidc.NewProvider(ctx, i.URL)
	if err != nil {
		return nil, err
	}
	var more struct {
		Keys    string   `json:"jwks_uri"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := discovery.Claims(&more); err != nil {
		return nil, err
	}
	endpoint := discovery.Endpoint()
	for _, address := range []string{endpoint.AuthURL, endpoint.TokenURL, more.Keys} {
		if err := i.checkEndpoint(address); err != nil {
			return nil, err
		}
	}
	// Not tried out, as the library would otherwise do: a code is good for one request.
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if i.ClientSecret == "" || len(more.Methods) > 0 && !slices.Contains(more.Methods, "client_secret_basic") {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return &provider{issuer: i, discovery: discovery, endpoint: endpoint, keys: newKeySetOf(ctx, i, more.Keys)}, nil
}

// checkEndpoint refuses what a discovery document should not name: the client's secret, and whom we believe, would go there.
func (i *issuer) checkEndpoint(address string) error {
	u, err := url.Parse(address)
	if err == nil && u.Host != "" && (secure(u) || local(u) && strings.HasPrefix(i.URL, "http:")) {
		return nil
	}
	return fmt.Errorf("its discovery document names an endpoint %.100q without https", address)
}

func (p *provider) oauth(redirectURL string) *oauth2.Config {
	scopes := p.issuer.Scopes
	if scopes == nil {
		scopes = []string{oidc.ScopeProfile, oidc.ScopeEmail}
	}
	return &oauth2.Config{
		ClientID: p.issuer.ClientID, ClientSecret: p.issuer.ClientSecret, Endpoint: p.endpoint, RedirectURL: redirectURL,
		Scopes: append([]string{oidc.ScopeOpenID}, slices.DeleteFunc(slices.Clone(scopes), func(scope string) bool {
			return scope == oidc.ScopeOpenID
		})...),
	}
}

// redeem gets the ID token for a code, and sees that it belongs to the sign-in.
func (p *provider) redeem(ctx context.Context, code string, st *state) (*oidc.IDToken, error) {
	ctx = oidc.ClientContext(ctx, p.issuer.client)
	got, err := p.oauth(st.Redirect).Exchange(ctx, code, oauth2.VerifierOption(st.Verifier))
	var refusal *oauth2.RetrieveError
	if errors.As(err, &refusal) && refusal.Response.StatusCode < http.StatusInternalServerError {
		return nil, fmt.Errorf("the provider refused the code: %w", err)
	}
	if err != nil {
		return nil, p.issuer.unavailable(err)
	}
	raw, ok := got.Extra("id_token").(string)
	if !ok {
		return nil, errors.New("the provider gave no ID token")
	}
	token, err := p.verify(ctx, raw, p.issuer.ClientID)
	if err != nil {
		return nil, err
	}
	if token.Nonce != st.Nonce {
		return nil, errors.New("the ID token is that of another sign-in")
	}
	if token.AccessTokenHash != "" {
		if err := token.VerifyAccessToken(got.AccessToken); err != nil {
			return nil, err
		}
	}
	return token, nil
}

// verify returns the ID token if the provider signed it, for the audience, and it is valid now. An *IssuerError means that this
// could not be found out.
func (p *provider) verify(ctx context.Context, raw, audience string) (*oidc.IDToken, error) {
	if len(raw) > maxIDToken {
		return nil, errors.New("the ID token is too long")
	}
	unjudged := new(error)
	ctx = context.WithValue(ctx, unjudgedKey{}, unjudged)
	verifier := oidc.NewVerifier(p.issuer.URL, p.keys, &oidc.Config{
		ClientID: audience, Now: p.issuer.now, SupportedSigningAlgs: p.algorithms(),
	})
	token, err := verifier.Verify(ctx, raw)
	if *unjudged != nil {
		return nil, p.issuer.unavailable(*unjudged)
	}
	if err != nil {
		return nil, err
	}
	var c struct {
		Party string `json:"azp"`
	}
	if err := token.Claims(&c); err != nil {
		return nil, err
	}
	if len(token.Audience) > 1 && c.Party != audience { // OpenID Connect Core, section 3.1.3.7
		return nil, errors.New("the ID token was made for another party")
	}
	return token, nil
}

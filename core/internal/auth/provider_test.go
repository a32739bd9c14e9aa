package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

// fakeProvider is an OpenID Connect provider as a real HTTP server.
type fakeProvider struct {
	*httptest.Server
	clock *clock
	stop  chan struct{} // ends requests that hang

	mu       sync.Mutex // guards what follows
	keys     map[string]*ecdsa.PrivateKey
	signer   string
	codes    map[string]url.Values  // what was asked for, by code
	claims   map[string]any         // beside the usual ones, and instead of them
	mode     map[string]string      // by path: hang, oversized, fail, redirect, garbage
	document map[string]any         // instead of what discovery says
	asked    map[string]int         // by path
	change   func(token string) any // what the token endpoint gives as id_token
}

const (
	clientID     = "platformd-client"
	clientSecret = "hush"
	redirectURL  = "https://platform.example/back"
)

func newProvider(t testing.TB, c *clock) *fakeProvider {
	t.Helper()
	p := &fakeProvider{
		clock: c, stop: make(chan struct{}), keys: map[string]*ecdsa.PrivateKey{}, codes: map[string]url.Values{},
		claims: map[string]any{}, mode: map[string]string{}, document: map[string]any{}, asked: map[string]int{},
		change: func(token string) any { return token },
	}
	p.rotate(t, "first")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.serve(p.discovery))
	mux.HandleFunc("GET /jwks", p.serve(p.jwks))
	mux.HandleFunc("GET /authorize", p.serve(p.authorize))
	mux.HandleFunc("POST /token", p.serve(p.token))
	p.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		close(p.stop)
		p.Close()
	})
	return p
}

// settings are how platformd is told of the provider.
func (p *fakeProvider) settings(change ...func(*Issuer)) func(*Options) {
	i := Issuer{Name: "acme", URL: p.URL, ClientID: clientID, ClientSecret: clientSecret, AllowSignUp: true}
	for _, do := range change {
		do(&i)
	}
	return func(o *Options) { o.OIDC = append(o.OIDC, i) }
}

// set changes how the provider behaves.
func (p *fakeProvider) set(change func(p *fakeProvider)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// rotate replaces all keys by a new one.
func (p *fakeProvider) rotate(t testing.TB, kid string) {
	t.Helper()
	made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p.set(func(p *fakeProvider) { p.keys, p.signer = map[string]*ecdsa.PrivateKey{kid: made}, kid })
}

func (p *fakeProvider) requests(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

func (p *fakeProvider) serve(normal http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked[r.URL.Path]++
		mode := p.mode[r.URL.Path]
		p.mu.Unlock()
		switch mode {
		case "hang":
			select {
			case <-p.stop:
			case <-r.Context().Done():
			}
		case "oversized":
			_, _ = fmt.Fprintf(w, `{"keys":[],"issuer":%q,"pad":"%s"}`, p.URL, strings.Repeat("x", maxAnswer))
		case "fail":
			http.Error(w, strings.Repeat("broken ", 1000), http.StatusInternalServerError)
		case "redirect":
			http.Redirect(w, r, "/jwks", http.StatusFound)
		case "garbage":
			_, _ = fmt.Fprint(w, "<html>")
		default:
			normal(w, r)
		}
	}
}

func (p *fakeProvider) discovery(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	document := map[string]any{
		"issuer": p.URL, "jwks_uri": p.URL + "/jwks",
		"authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
		"id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"},
	}
	maps.Copy(document, p.document)
	_ = json.NewEncoder(w).Encode(document)
}

func (p *fakeProvider) jwks(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := []map[string]string{}
	for kid, k := range p.keys {
		point, err := k.PublicKey.Bytes()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		list = append(list, map[string]string{
			"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid,
			"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
		})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": list})
}

// authorize signs the person in, without asking, and sends them back.
func (p *fakeProvider) authorize(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Get("client_id") != clientID || query.Get("response_type") != "code" || query.Get("code_challenge_method") != "S256" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	p.set(func(p *fakeProvider) { p.codes[code] = query })
	back := url.Values{"code": {code}, "state": {query.Get("state")}}
	http.Redirect(w, r, query.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

// token takes a code once, with the verifier of its challenge.
func (p *fakeProvider) token(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	code := r.PostFormValue("code")
	p.mu.Lock()
	query, ok := p.codes[code]
	delete(p.codes, code)
	p.mu.Unlock()
	challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || id != clientID || secret != clientSecret || query.Get("redirect_uri") != r.PostFormValue("redirect_uri") ||
		query.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(challenge[:]) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, `{"error":"invalid_grant"}`)
		return
	}
	answer := map[string]any{"access_token": "theirs", "token_type": "Bearer"}
	p.mu.Lock()
	change := p.change
	p.mu.Unlock()
	if given := change(p.idToken(map[string]any{"nonce": query.Get("nonce")})); given != nil {
		answer["id_token"] = given
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// idToken makes an ID token with the usual claims, those of the provider, and more; nil deletes one.
func (p *fakeProvider) idToken(more map[string]any) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.now()
	all := jwt.MapClaims{
		"iss": p.URL, "aud": clientID, "sub": "grace", "email": "grace@example.com", "email_verified": true, "name": "Grace",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	maps.Copy(all, more)
	maps.Copy(all, p.claims)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	token := jwt.NewWithClaims(jwt.SigningMethodES256, all)
	token.Header["kid"] = p.signer
	signed, err := token.SignedString(p.keys[p.signer])
	if err != nil {
		return err.Error()
	}
	return signed
}

// browse follows location as a browser does, up to where it leaves the provider.
func (p *fakeProvider) browse(t testing.TB, location string) url.Values {
	t.Helper()
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Get(location)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusFound, answer.StatusCode)
	back, err := answer.Location()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(back.String(), redirectURL+"?"))
	return back.Query()
}

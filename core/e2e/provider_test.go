package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

// provider is another place to sign in at, where everybody is Grace: OpenID Connect with PKCE, and keys that change.
type provider struct {
	*httptest.Server

	mu    sync.Mutex // guards what follows
	kid   string
	key   ed25519.PrivateKey
	asked map[string]url.Values // by code
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{asked: map[string]url.Values{}}
	p.rotate("first")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, map[string]any{
			"issuer": p.URL, "jwks_uri": p.URL + "/jwks", "authorization_endpoint": p.URL + "/authorize",
			"token_endpoint": p.URL + "/token", "id_token_signing_alg_values_supported": []string{"EdDSA"},
		})
	})
	mux.HandleFunc("GET /jwks", p.jwks)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// rotate replaces the key by another one.
func (p *provider) rotate(kid string) {
	_, key, _ := ed25519.GenerateKey(rand.Reader) // never fails (crypto/rand, Go 1.24)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kid, p.key = kid, key
}

func answerJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the client may be gone
}

func (p *provider) jwks(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	public, _ := p.key.Public().(ed25519.PublicKey)
	answerJSON(w, map[string]any{"keys": []map[string]string{{
		"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": p.kid, "x": base64.RawURLEncoding.EncodeToString(public),
	}}})
}

// authorize sends the person straight back.
func (p *provider) authorize(w http.ResponseWriter, r *http.Request) {
	code, query := rand.Text(), r.URL.Query()
	p.mu.Lock()
	p.asked[code] = query
	p.mu.Unlock()
	back := url.Values{"code": {code}, "state": {query.Get("state")}}
	http.Redirect(w, r, query.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	query, ok := p.asked[r.PostFormValue("code")]
	delete(p.asked, r.PostFormValue("code"))
	challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || query.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(challenge[:]) {
		http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
		return
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": p.URL, "aud": "platformd", "sub": "grace", "email": "grace@example.com", "email_verified": true, "name": "Grace",
		"groups": []string{"writers"}, "nonce": query.Get("nonce"),
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	})
	token.Header["kid"] = p.kid
	signed, err := token.SignedString(p.key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answerJSON(w, map[string]any{"access_token": "theirs", "token_type": "Bearer", "id_token": signed})
}

// TestAccessByAnotherProvider signs in as a browser does, and goes on to after the provider has changed its keys.
func TestAccessByAnotherProvider(t *testing.T) {
	t.Parallel()
	other := newProvider(t)
	p := start(t, options{modules: []string{"billing", "blog"}, config: fmt.Sprintf(`auth:
  oidc:
    - name: acme
      url: %s
      clientID: platformd
      allowSignUp: true
      roleClaim: groups
      roles: { writers: [author] }
`, other.URL)})
	p.setUp()
	require.JSONEq(t, `{"items":["acme"]}`, p.do(http.MethodGet, api+"/auth/providers", "", "").body)

	signIn := func() answer {
		jar, err := cookiejar.New(nil)
		require.NoError(t, err)
		browser := &http.Client{Jar: jar, Timeout: patience}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+api+"/auth/providers/acme/begin", nil)
		require.NoError(t, err)
		return wholeBy(t, browser, req)
	}
	first := signIn()
	require.Equal(t, http.StatusOK, first.status, first.body)
	var grace tokens
	first.decode(t, &grace)
	post := p.send(http.MethodPost, "/api/v1/blog/posts", grace.Access, map[string]string{"title": "Hello", "body": "World"})
	require.Equal(t, http.StatusCreated, post.status, "the provider's group is worth the role author: %s", post.body)
	require.Contains(t, post.body, `"author":"Grace"`)

	other.rotate("second")
	p.await("a sign-in by the new key", func() bool { return signIn().status == http.StatusOK })
	replay := p.do(http.MethodGet, api+"/auth/providers/acme/finish?code=x&state=y", "", "")
	require.Equal(t, http.StatusUnauthorized, replay.status, "nobody began this")
}

package signin_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
)

// provider is another place to sign in at, where everybody is Grace. It takes any code; what it checks, core/internal/auth tests.
type provider struct {
	*httptest.Server
	key   ed25519.PrivateKey
	nonce atomic.Value // of the last who were sent here
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := new(provider)
	var public ed25519.PublicKey
	public, p.key, _ = ed25519.GenerateKey(rand.Reader) // never fails (crypto/rand, Go 1.24)
	mux := http.NewServeMux()
	answer := func(path string, value func() any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", objectType)
			_ = json.NewEncoder(w).Encode(value())
		})
	}
	answer("/.well-known/openid-configuration", func() any {
		return map[string]any{
			"issuer": p.URL, "jwks_uri": p.URL + "/jwks", "authorization_endpoint": p.URL + "/authorize",
			"token_endpoint": p.URL + "/token", "id_token_signing_alg_values_supported": []string{"EdDSA"},
		}
	})
	answer("/jwks", func() any {
		return map[string]any{"keys": []map[string]string{{
			"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "1", "x": base64.RawURLEncoding.EncodeToString(public),
		}}}
	})
	answer("/token", func() any {
		nonce, _ := p.nonce.Load().(string)
		return map[string]any{"access_token": "theirs", "token_type": "Bearer", "id_token": p.idToken(nonce)}
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) idToken(nonce string) string {
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": p.URL, "aud": "platformd", "sub": "grace", "email": "grace@example.com", "email_verified": true, "name": "Grace",
		"nonce": nonce, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	})
	token.Header["kid"] = "1"
	signed, err := token.SignedString(p.key)
	if err != nil {
		return err.Error()
	}
	return signed
}

func (p *provider) settings(w *world, o *auth.Options) {
	o.OIDC = append(o.OIDC, auth.Issuer{Name: "acme", URL: p.URL, ClientID: "platformd", AllowSignUp: true})
}

func withProvider(t *testing.T) func(*world, *auth.Options) {
	t.Helper()
	return newProvider(t).settings
}

func TestProviders(t *testing.T) {
	t.Parallel()
	require.JSONEq(t, `{"items":[]}`, newWorld(t).do(call{line: "GET /auth/providers"}).body)
	require.JSONEq(t, `{"items":["acme"]}`, newWorld(t, withProvider(t)).do(call{line: "GET /auth/providers"}).body)
}

func TestSignInByAProvider(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	w := newWorld(t, p.settings)
	w.person("ada") // the first user does not come from elsewhere
	began := w.do(call{line: "GET /auth/providers/acme/begin"})
	require.Equal(t, http.StatusFound, began.status)
	require.Equal(t, "no-store", began.header.Get("Cache-Control"))
	location, err := url.Parse(began.header.Get("Location"))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(location.String(), p.URL+"/authorize?"))
	require.Equal(t, platformURL+prefix+"/auth/providers/acme/finish", location.Query().Get("redirect_uri"))
	cookie, err := http.ParseSetCookie(began.header.Get("Set-Cookie"))
	require.NoError(t, err)
	require.Equal(t, prefix+"/auth/providers/acme/finish", cookie.Path)
	require.True(t, cookie.HttpOnly && cookie.Secure && cookie.SameSite == http.SameSiteLaxMode, cookie)
	require.Equal(t, 600, cookie.MaxAge)

	p.nonce.Store(location.Query().Get("nonce"))
	back := "GET /auth/providers/acme/finish?code=x&state=" + url.QueryEscape(location.Query().Get("state"))
	for name, held := range map[string]string{"none": "", "garbage": "x.y", "cut": cookie.Value[:len(cookie.Value)-1]} {
		got := w.do(call{line: back, header: map[string]string{"Cookie": cookie.Name + "=" + held}})
		require.Equal(t, 401, got.status, name)
		got.refused(t, 401, "not confirmed")
	}
	got := w.do(call{line: back, header: map[string]string{"Cookie": cookie.Name + "=" + cookie.Value}})
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, "no-store", got.header.Get("Cache-Control"))
	gone, err := http.ParseSetCookie(got.header.Get("Set-Cookie"))
	require.NoError(t, err)
	require.Equal(t, -1, gone.MaxAge)
	require.Equal(t, cookie.Path, gone.Path, "else the browser keeps it")
	var grace tokens
	got.decode(t, &grace)
	require.Contains(t, w.do(call{line: "GET /auth/me", token: grace.Access}).body, `"name":"Grace"`)
	rows := w.rows("auth.login", 4)
	for _, row := range rows[:3] {
		require.Equal(t, audit.Denied, row.Outcome)
		require.Equal(t, "provider/acme", row.Resource)
	}
	w.nothingInternal()
}

func TestExchange(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	w := newWorld(t, p.settings)
	w.person("ada")
	got := w.send("POST /auth/providers/acme/exchange", "", map[string]string{"id_token": p.idToken("")})
	require.Equal(t, 200, got.status, got.body)
	for _, bad := range []string{"", "x", "a.b.c", p.idToken("") + "x"} {
		w.send("POST /auth/providers/acme/exchange", "", map[string]string{"id_token": bad}).refused(t, 401, "not confirmed")
	}
}

// What a provider is called in a path, anybody chooses.
func TestProvidersThatAreNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withProvider(t))
	for _, name := range []string{
		"nobody", "Acme", "%3B%20Domain=evil.example", "%22%0d%0aSet-Cookie:x=y", strings.Repeat("x", 3000),
	} {
		for _, line := range []string{"/begin", "/finish?code=x&state=y"} {
			got := w.do(call{line: "GET /auth/providers/" + name + line})
			got.refused(t, 404, "no such provider")
			require.Empty(t, got.header.Values("Set-Cookie"), line)
			require.Empty(t, got.header.Get("Location"))
		}
	}
	w.nothingInternal()
}

func TestAProviderThatIsAway(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.Close()
	w := newWorld(t, p.settings)
	w.person("ada")
	for _, got := range []answer{
		w.do(call{line: "GET /auth/providers/acme/begin"}),
		w.send("POST /auth/providers/acme/exchange", "", map[string]string{"id_token": "x"}),
	} {
		got.refused(t, 503, "provider cannot be reached")
		require.NotContains(t, got.body, p.URL, "where it is, is nobody's business")
	}
	require.Equal(t, audit.Failed, w.rows("auth.login", 1)[0].Outcome, "nobody was judged")
	w.login("ada@example.com")
	w.nothingInternal()
}

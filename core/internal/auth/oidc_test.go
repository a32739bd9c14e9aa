package auth

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/platformd/platformd/plugin-api/link"
)

// signIn is the whole way of a browser: begin, the provider, finish.
func signIn(t *testing.T, s *Service, p *fakeProvider) (Tokens, error) {
	t.Helper()
	location, cookie, err := s.Begin(t.Context(), "acme", redirectURL)
	if err != nil {
		return Tokens{}, err
	}
	return s.Finish(t.Context(), Callback{Issuer: "acme", StateCookie: cookie, Query: p.browse(t, location)})
}

func TestAProviderSignsPeopleIn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		p := newProvider(t, w.clock)
		here, there := w.replica(t, p.settings()), w.replica(t, p.settings())
		require.Equal(t, []string{"acme"}, here.Issuers())
		require.Zero(t, p.requests("/.well-known/openid-configuration"), "nobody has asked for it yet")
		location, cookie, err := here.Begin(t.Context(), "acme", redirectURL)
		require.NoError(t, err)
		u, err := url.Parse(location)
		require.NoError(t, err)
		require.Equal(t, "openid profile email", u.Query().Get("scope"))
		require.NotContains(t, cookie, u.Query().Get("nonce"))
		tokens, err := there.Finish(t.Context(), Callback{ // on any replica
			Issuer: "acme", StateCookie: cookie, Query: p.browse(t, location), Client: Client{"192.0.2.1", "browser"},
		})
		require.NoError(t, err)
		identity, err := here.Authenticate(t.Context(), tokens.AccessToken)
		require.NoError(t, err)
		require.Equal(t, link.Principal{Kind: link.KindUser, ID: "u-grace", Name: "Grace"}, identity.Principal)
		_, err = here.Refresh(t.Context(), tokens.RefreshToken, "")
		require.NoError(t, err)
		sessions, err := here.Sessions(t.Context(), "u-grace")
		require.NoError(t, err)
		require.Equal(t, "browser", sessions[0].UserAgent)
	})
}

// journey is a sign-in that has come back from the provider.
type journey struct {
	w      *world
	p      *fakeProvider
	s      *Service
	cookie string
	query  url.Values
	issuer string
}

// claimed has the provider say other things, or another thing.
func claimed(claims map[string]any, change ...func(*fakeProvider)) func(*testing.T, *journey) {
	return func(_ *testing.T, j *journey) {
		j.p.set(func(p *fakeProvider) {
			maps.Copy(p.claims, claims)
			for _, do := range change {
				do(p)
			}
		})
	}
}

// A sign-in whose beginning, way or end is another one is refused, and begins no session.
func TestSignInsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, table := range []map[string]func(*testing.T, *journey){spoiltByClients(), spoiltByProviders()} {
		for name, spoil := range table {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				refuse(t, spoil)
			})
		}
	}
}

func refuse(t *testing.T, spoil func(*testing.T, *journey)) {
	t.Helper()
	w := onSQLite(t)
	p := newProvider(t, w.clock)
	other := func(i *Issuer) { i.Name = "other" }
	s := w.replica(t, p.settings(), p.settings(other))
	location, cookie, err := s.Begin(t.Context(), "acme", redirectURL)
	require.NoError(t, err)
	j := &journey{w: w, p: p, s: s, cookie: cookie, query: p.browse(t, location), issuer: "acme"}
	spoil(t, j)
	tokens, err := s.Finish(t.Context(), Callback{Issuer: j.issuer, StateCookie: j.cookie, Query: j.query})
	require.Equal(t, ErrExternalRefused, err)
	require.Equal(t, Tokens{}, tokens)
	sessions, err := s.Sessions(t.Context(), "u-grace")
	require.NoError(t, err)
	require.Empty(t, sessions)
}

func spoiltByClients() map[string]func(*testing.T, *journey) {
	return map[string]func(*testing.T, *journey){
		"no cookie":                func(_ *testing.T, j *journey) { j.cookie = "" },
		"cut cookie":               func(_ *testing.T, j *journey) { j.cookie = j.cookie[:len(j.cookie)-1] },
		"changed cookie":           func(_ *testing.T, j *journey) { j.cookie = j.cookie[:30] + "AAAA" + j.cookie[34:] },
		"cookie of an unknown key": func(_ *testing.T, j *journey) { j.cookie = "x" + j.cookie[1:] },
		"cookie of another sign-in": func(t *testing.T, j *journey) {
			var err error
			_, j.cookie, err = j.s.Begin(t.Context(), "acme", redirectURL)
			require.NoError(t, err)
		},
		"cookie of another provider": func(_ *testing.T, j *journey) { j.issuer = "other" },
		"too late":                   func(_ *testing.T, j *journey) { j.w.clock.move(stateTTL) },
		"no state":                   func(_ *testing.T, j *journey) { j.query.Del("state") },
		"another state":              func(_ *testing.T, j *journey) { j.query.Set("state", "x") },
		"two states":                 func(_ *testing.T, j *journey) { j.query.Add("state", "x") },
		"no code":                    func(_ *testing.T, j *journey) { j.query.Del("code") },
		"two codes":                  func(_ *testing.T, j *journey) { j.query.Add("code", "x") },
		"another code":               func(_ *testing.T, j *journey) { j.query.Set("code", "x") },
		"mixed up":                   func(_ *testing.T, j *journey) { j.query.Set("iss", "https://evil.example") },
		"denied":                     func(_ *testing.T, j *journey) { j.query.Set("error", "access_denied") },
		"used code": func(t *testing.T, j *journey) {
			_, err := j.s.Finish(t.Context(), Callback{Issuer: "acme", StateCookie: j.cookie, Query: j.query})
			require.NoError(t, err)
			require.NoError(t, j.s.EndUser(t.Context(), "u-grace", "test"))
		},
		"disabled": func(_ *testing.T, j *journey) {
			j.w.set(User{ID: "u-grace", Disabled: true}, "")
			j.w.external[j.p.URL+" grace"] = "u-grace"
		},
	}
}

func spoiltByProviders() map[string]func(*testing.T, *journey) {
	return map[string]func(*testing.T, *journey){
		"no ID token":        claimed(nil, func(p *fakeProvider) { p.change = func(string) any { return nil } }),
		"a number for one":   claimed(nil, func(p *fakeProvider) { p.change = func(string) any { return 1 } }),
		"wrong nonce":        claimed(map[string]any{"nonce": "x"}),
		"no nonce":           claimed(map[string]any{"nonce": nil}),
		"another issuer":     claimed(map[string]any{"iss": "https://evil.example"}),
		"another audience":   claimed(map[string]any{"aud": "x"}),
		"no audience":        claimed(map[string]any{"aud": nil}),
		"another party":      claimed(map[string]any{"aud": []string{clientID, "x"}, "azp": "x"}),
		"nobody's party":     claimed(map[string]any{"aud": []string{clientID, "x"}}),
		"expired":            claimed(map[string]any{"exp": start.Unix() - 1}),
		"no subject":         claimed(map[string]any{"sub": nil}),
		"long subject":       claimed(map[string]any{"sub": strings.Repeat("x", 256)}),
		"another's token":    claimed(map[string]any{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}),
		"email with escapes": claimed(map[string]any{"email": "a\x1b@example.com"}),
		"long email":         claimed(map[string]any{"email": strings.Repeat("x", 321)}),
		"huge":               claimed(map[string]any{"pad": strings.Repeat("x", maxIDToken)}),
		"cut ID token":       claimed(nil, func(p *fakeProvider) { p.change = func(s string) any { return s[:len(s)-2] } }),
		"unsigned": claimed(nil, func(p *fakeProvider) {
			p.change = func(s string) any { return resigned(s, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType) }
		}),
		"HS256 with the client's secret": claimed(nil, func(p *fakeProvider) {
			p.change = func(s string) any { return resigned(s, jwt.SigningMethodHS256, []byte(clientSecret)) }
		}),
	}
}

func resigned(token string, method jwt.SigningMethod, key any) string {
	parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	if err != nil {
		return err.Error()
	}
	made := jwt.NewWithClaims(method, parsed.Claims)
	made.Header["kid"] = parsed.Header["kid"]
	signed, err := made.SignedString(key)
	if err != nil {
		return err.Error()
	}
	return signed
}

func TestOtherClaimsDoNotMatter(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	p := newProvider(t, w.clock)
	s := w.replica(t, p.settings())
	p.set(func(p *fakeProvider) {
		p.claims = map[string]any{"aud": []string{"x", clientID}, "azp": clientID, "pad": strings.Repeat("x", 4000)}
	})
	_, err := signIn(t, s, p)
	require.NoError(t, err)
}

// A provider that rotates its keys goes on signing people in; the old ones are worth nothing from then on.
func TestAProviderRotatesItsKeys(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	p := newProvider(t, w.clock)
	s := w.replica(t, p.settings())
	_, err := signIn(t, s, p)
	require.NoError(t, err)
	old := p.idToken(nil)
	_, err = s.Exchange(t.Context(), "acme", old, Client{})
	require.NoError(t, err)
	require.Equal(t, 1, p.requests("/jwks"))

	w.clock.move(issuerKeysPause)
	p.rotate(t, "second")
	_, err = signIn(t, s, p)
	require.NoError(t, err)
	require.Equal(t, 2, p.requests("/jwks"))
	_, err = s.Exchange(t.Context(), "acme", old, Client{})
	require.Equal(t, ErrExternalRefused, err, "keys are replaced, not added")
	require.Equal(t, 1, p.requests("/.well-known/openid-configuration"))
}

// Who sends tokens with unknown keys, or wrong signatures, does not make us a means of attacking the provider.
func TestTheProvidersKeysAreNotAskedForAllTheTime(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	p := newProvider(t, w.clock)
	s := w.replica(t, p.settings())
	stranger := newProvider(t, w.clock)
	stranger.rotate(t, "unknown")
	bad := []string{stranger.idToken(map[string]any{"iss": p.URL})}
	stranger.rotate(t, "first")
	bad = append(bad, stranger.idToken(map[string]any{"iss": p.URL}), "garbage", "a.b.c", "")
	for round := range 3 {
		var all sync.WaitGroup
		for _, token := range bad {
			for range 10 {
				all.Go(func() {
					_, err := s.Exchange(t.Context(), "acme", token, Client{})
					if !errors.Is(err, ErrExternalRefused) {
						t.Error(err)
					}
				})
			}
		}
		all.Wait()
		for _, token := range bad { // one after the other as well
			_, err := s.Exchange(t.Context(), "acme", token, Client{})
			require.Equal(t, ErrExternalRefused, err)
		}
		require.Equal(t, round+1, p.requests("/jwks"))
		_, err := s.Exchange(t.Context(), "acme", p.idToken(nil), Client{})
		require.NoError(t, err)
		w.clock.move(issuerKeysPause)
	}
}

// A provider that is down, slow or odd fails its own sign-ins, and the error says which it is. It is left alone for a while, and
// asked again.
func TestAProviderThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	const discovery, keys = "/.well-known/openid-configuration", "/jwks"
	for name, trouble := range map[string]struct{ path, mode string }{
		"discovery fails": {discovery, "fail"}, "discovery is garbage": {discovery, "garbage"},
		"discovery is oversized": {discovery, "oversized"}, "discovery redirects": {discovery, "redirect"},
		"keys fail": {keys, "fail"}, "keys are garbage": {keys, "garbage"}, "keys are oversized": {keys, "oversized"},
		"codes fail": {"/token", "fail"}, "codes are oversized": {"/token", "oversized"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := onSQLite(t)
			p := newProvider(t, w.clock)
			s := w.replica(t, p.settings())
			p.set(func(p *fakeProvider) { p.mode[trouble.path] = trouble.mode })
			for range 3 {
				tokens, err := signIn(t, s, p)
				var unjudged *IssuerError
				require.ErrorAs(t, err, &unjudged)
				require.Equal(t, "acme", unjudged.Issuer)
				require.Contains(t, err.Error(), "provider acme cannot be asked")
				require.Less(t, len(err.Error()), 700, "what it answered may be long")
				require.NotErrorIs(t, err, ErrExternalRefused)
				require.Equal(t, Tokens{}, tokens)
			}
			if trouble.path != "/token" {
				require.Equal(t, 1, p.requests(trouble.path))
			}
			p.set(func(p *fakeProvider) { p.mode = map[string]string{} })
			w.clock.move(issuerKeysPause)
			_, err := signIn(t, s, p)
			require.NoError(t, err)
			requireAda(t, s, ada(t, s).AccessToken)
		})
	}
}

// A provider that hangs holds a request for five seconds, and nobody who has left.
func TestAProviderThatHangs(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	p := newProvider(t, w.clock)
	s := w.replica(t, p.settings())
	token := p.idToken(nil)
	_, err := s.Exchange(t.Context(), "acme", token, Client{}) // discovery, keys
	require.NoError(t, err)
	w.clock.move(issuerKeysPause)
	p.set(func(p *fakeProvider) { p.mode["/jwks"] = "hang" })
	p.rotate(t, "second")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = s.Exchange(ctx, "acme", p.idToken(nil), Client{})
	require.ErrorIs(t, err, context.DeadlineExceeded)

	slow := newProvider(t, w.clock)
	slow.set(func(p *fakeProvider) { p.mode["/.well-known/openid-configuration"] = "hang" })
	patient := w.replica(t, slow.settings())
	began := time.Now()
	_, _, err = patient.Begin(t.Context(), "acme", redirectURL)
	var unjudged *IssuerError
	require.ErrorAs(t, err, &unjudged)
	require.Less(t, time.Since(began), 6*issuerWait)
}

// An outage of ours is not the provider's.
func TestSignInsDuringAnOutage(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	p := newProvider(t, w.clock)
	s := w.replica(t, p.settings())
	w.setDown(true)
	tokens, err := signIn(t, s, p)
	require.ErrorIs(t, err, errOutage)
	require.Equal(t, Tokens{}, tokens)
}

func TestExchangeForMachines(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	p := newProvider(t, w.clock)
	s := w.replica(t, p.settings(func(i *Issuer) { i.Audience = "https://platform.example" }))
	_, err := s.Exchange(t.Context(), "acme", p.idToken(map[string]any{"aud": "https://platform.example"}), Client{})
	require.NoError(t, err)
	_, err = s.Exchange(t.Context(), "acme", p.idToken(nil), Client{})
	require.Equal(t, ErrExternalRefused, err, "a token for people is none for machines")
	_, err = signIn(t, s, p)
	require.NoError(t, err)
	for _, name := range []string{"", "absent", "Acme"} {
		_, err = s.Exchange(t.Context(), name, p.idToken(nil), Client{})
		require.Equal(t, ErrUnknownIssuer, err)
		_, _, err = s.Begin(t.Context(), name, redirectURL)
		require.Equal(t, ErrUnknownIssuer, err)
		_, err = s.Finish(t.Context(), Callback{Issuer: name})
		require.Equal(t, ErrUnknownIssuer, err)
	}
}

func TestWhoMaySignUp(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	p := newProvider(t, w.clock)
	s := w.replica(t, p.settings(func(i *Issuer) { i.AllowSignUp = false }))
	_, err := signIn(t, s, p)
	require.Equal(t, ErrExternalRefused, err)
	w.external[p.URL+" grace"] = "u-ada"
	tokens, err := signIn(t, s, p)
	require.NoError(t, err)
	require.Equal(t, "u-ada", tokens.User.ID)
}

// What the accounts are told: an email counts only if the provider vouches for it.
func TestWhatAProviderVouchesFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		verified any
		want     bool
	}{
		"yes": {true, true}, "as text": {"true", true}, "no": {false, false}, "no as text": {"false", false}, "nothing": {nil, false},
		"a number": {1, false}, "TRUE": {"TRUE", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := onSQLite(t)
			p := newProvider(t, w.clock)
			p.set(func(p *fakeProvider) { p.claims = map[string]any{"email_verified": c.verified, "name": "Gr\x1bace"} })
			var told External
			s := w.replica(t, p.settings(), func(o *Options) {
				o.Users.External = func(ctx context.Context, who External) (User, error) {
					told = who
					return w.known(ctx, who)
				}
			})
			_, err := signIn(t, s, p)
			require.NoError(t, err)
			require.Equal(t, External{
				Issuer: "acme", URL: p.URL, Subject: "grace", Email: "grace@example.com", EmailVerified: c.want, Name: "Grace",
				AllowSignUp: true,
			}, told)
		})
	}
}

func TestRolesByClaim(t *testing.T) {
	t.Parallel()
	mapping := map[string][]string{"staff": {"writer", "reader"}, "boss": {"admin", "reader"}}
	type object = map[string]any
	for name, c := range map[string]struct {
		claim  string
		claims object
		want   []string
	}{
		"a list":         {"groups", object{"groups": []string{"staff", "boss", "other"}}, []string{"admin", "reader", "writer"}},
		"a text":         {"groups", object{"groups": "staff"}, []string{"reader", "writer"}},
		"nested":         {"realm.roles", object{"realm": object{"roles": []string{"boss"}}}, []string{"admin", "reader"}},
		"a URL":          {"https://x.ex/roles", object{"https://x.ex/roles": []any{"staff", 1, nil}}, []string{"reader", "writer"}},
		"nested in one":  {"https://x.example/a.b", object{"https://x.example/a": object{"b": "boss"}}, []string{"admin", "reader"}},
		"none any more":  {"groups", object{}, []string{}},
		"nothing mapped": {"groups", object{"groups": []string{"Staff", "writer", "admin", ""}}, []string{}},
		"an object":      {"groups", object{"groups": object{"staff": true}}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := onSQLite(t)
			p := newProvider(t, w.clock)
			p.set(func(p *fakeProvider) { maps.Copy(p.claims, c.claims) })
			var got [][]string
			var fail error
			s := w.replica(t, p.settings(func(i *Issuer) { i.RoleClaim, i.Roles = c.claim, mapping }), func(o *Options) {
				o.Roles = func(_ context.Context, userID, issuer string, roles []string) error {
					require.Equal(t, "u-grace", userID)
					require.Equal(t, "acme", issuer)
					got = append(got, roles)
					return fail
				}
			})
			_, err := signIn(t, s, p)
			require.NoError(t, err)
			require.Equal(t, [][]string{c.want}, got)
			fail = errOutage
			tokens, err := signIn(t, s, p)
			require.ErrorIs(t, err, errOutage, "with the roles of yesterday nobody gets in")
			require.Equal(t, Tokens{}, tokens)
		})
	}
}

func TestProvidersThatAreMisconfigured(t *testing.T) {
	t.Parallel()
	good := Issuer{Name: "acme", URL: "https://accounts.example.com", ClientID: "x"}
	for name, change := range map[string]func(*Issuer){
		"no name":    func(i *Issuer) { i.Name = "" },
		"odd name":   func(i *Issuer) { i.Name = "a/b" },
		"no client":  func(i *Issuer) { i.ClientID = "" },
		"no URL":     func(i *Issuer) { i.URL = "" },
		"no host":    func(i *Issuer) { i.URL = "https://" },
		"http":       func(i *Issuer) { i.URL = "http://example.com" },
		"a look":     func(i *Issuer) { i.URL = "http://localhost.example.com" },
		"a password": func(i *Issuer) { i.URL = "https://a:b@example.com" },
		"a query":    func(i *Issuer) { i.URL += "?a" },
		"not a URL":  func(i *Issuer) { i.URL = "https://%zz" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := onSQLite(t)
			bad := good
			change(&bad)
			store := w.store(t)
			_, err := New(t.Context(), store.Core(), Options{OIDC: []Issuer{bad}})
			require.ErrorContains(t, err, "(fix: ")
		})
	}
	w := onSQLite(t)
	store := w.store(t)
	_, err := New(t.Context(), store.Core(), Options{OIDC: []Issuer{good, good}})
	require.ErrorContains(t, err, "is there twice")
	_, err = New(t.Context(), store.Core(), Options{OIDC: []Issuer{good}})
	require.NoError(t, err, "nobody asks it")
}

// A discovery document cannot send us, and the client's secret, elsewhere in the open.
func TestEndpointsWithoutHTTPS(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "issuer"} {
		for _, address := range []string{"", "http://evil.example/x", "ftp://127.0.0.1/", "file:///etc/passwd"} {
			w := onSQLite(t)
			p := newProvider(t, w.clock)
			p.set(func(p *fakeProvider) { p.document[endpoint] = address })
			_, _, err := w.replica(t, p.settings()).Begin(t.Context(), "acme", redirectURL)
			var unjudged *IssuerError
			require.ErrorAs(t, err, &unjudged, endpoint+address)
		}
	}
	over := &issuer{Issuer: Issuer{URL: "https://accounts.example.com"}}
	require.Error(t, over.checkEndpoint("http://127.0.0.1/jwks"), "https is not left")
	require.NoError(t, over.checkEndpoint("https://www.example.net/jwks"))
}

// A public client, or one whose provider wants it so, sends its id in the form.
func TestHowTheClientShowsItself(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		secret  string
		methods []string
		basic   bool
	}{
		"by default": {"s", nil, true}, "basic": {"s", []string{"client_secret_post", "client_secret_basic"}, true},
		"post": {"s", []string{"client_secret_post"}, false}, "public": {"", []string{"client_secret_basic"}, false},
	} {
		w := onSQLite(t)
		p := newProvider(t, w.clock)
		p.set(func(p *fakeProvider) { p.document["token_endpoint_auth_methods_supported"] = c.methods })
		s := w.replica(t, p.settings(func(i *Issuer) { i.ClientSecret = c.secret }))
		ready, err := s.issuers["acme"].ready(t.Context())
		require.NoError(t, err)
		require.Equal(t, c.basic, ready.endpoint.AuthStyle == oauth2.AuthStyleInHeader, name)
	}
}

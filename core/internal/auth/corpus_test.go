package auth

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sample is one case of testdata/tokens.json: a credential which must stand for nobody (G18).
type sample struct {
	Name string `json:"name"`
	// From is what it is made of: an access token by default, service, personal, refresh, ticket, state, id token, or nothing.
	From string `json:"from"`
	// Header and Claims are set in it, null deletes; "@1h" is the time in an hour. RawHeader and RawClaims replace them: $inner is
	// what was between the braces, $kid the key's id.
	Header    map[string]any `json:"header"`
	Claims    map[string]any `json:"claims"`
	RawHeader string         `json:"raw_header"`
	RawClaims string         `json:"raw_claims"`
	// Pad is how many letters the claim name gets.
	Pad int `json:"pad"`
	// Sign is who signs anew; "" = our own key, so that nothing but the change is wrong.
	Sign string `json:"sign"`
	// Flip turns a bit: part, character (negative: from the end), bit.
	Flip []int `json:"flip"`
	// Text is the credential at last, of $token, $header, $claims, $signature, and $cut: the token without its last character.
	// Repeat is how often.
	Text   string `json:"text"`
	Repeat int    `json:"repeat"`
	// Then happens before it is shown: see happen.
	Then string `json:"then"`
}

func samples(t testing.TB) []sample {
	t.Helper()
	file, err := os.Open("testdata/tokens.json")
	require.NoError(t, err)
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	var all []sample
	require.NoError(t, decoder.Decode(&all))
	return all
}

// TestTheCorpusOfBadTokens: every credential in testdata/tokens.json gets ErrInvalidToken, never somebody, and never another
// error, on both kinds of databases.
func TestTheCorpusOfBadTokens(t *testing.T) {
	t.Parallel()
	all := samples(t)
	require.GreaterOrEqual(t, len(all), 60)
	names := map[string]bool{}
	for _, c := range all {
		require.False(t, names[c.Name], "%s is there twice", c.Name)
		names[c.Name] = true
	}
	each(t, func(t *testing.T, w *world) {
		provider := newProvider(t, w.clock)
		store := w.store(t)
		for _, c := range all {
			b := &bench{world: &world{accounts: newAccounts(), clock: newClock()}, provider: provider}
			b.service = serve(t, store, Options{Users: b.users(), OIDC: oidcOf(provider)}, b.clock)
			b.check(t, c)
		}
	})
}

func oidcOf(p *fakeProvider) []Issuer {
	var o Options
	p.settings()(&o)
	return o.OIDC
}

// bench is where one sample is made and shown. The time and the accounts are its own.
type bench struct {
	*world
	provider *fakeProvider
	service  *Service
	tokenID  string
	tokens   Tokens
}

func (b *bench) check(t *testing.T, c sample) {
	t.Helper()
	genuine := b.genuine(t, c.From)
	shown := b.make(t, c, genuine)
	switch c.From {
	case "", "service", "personal": // a sample that cannot fail is none
		_, err := b.service.Authenticate(t.Context(), genuine)
		require.NoError(t, err, c.Name)
	}
	b.happen(t, c.Then)
	if good := c.From == "" || c.From == "service" || c.From == "personal"; good && c.Then == "" {
		require.NotEqual(t, genuine, shown, c.Name)
	}
	for range 2 {
		identity, err := b.service.Authenticate(t.Context(), shown)
		require.Equal(t, ErrInvalidToken, err, c.Name)
		require.Equal(t, Identity{}, identity, c.Name)
	}
	if c.Then == "" && c.From == "" { // the genuine one still passes: nothing else was wrong
		_, err := b.service.Authenticate(t.Context(), genuine)
		require.NoError(t, err, c.Name)
	}
}

// genuine makes what the sample is made of.
func (b *bench) genuine(t *testing.T, from string) string {
	t.Helper()
	b.tokens = ada(t, b.service)
	switch from {
	case "":
		return b.tokens.AccessToken
	case "service", "personal":
		n := NewToken{TTL: time.Hour, Permissions: []string{"*"}}
		if from == "personal" {
			n.Owner = "u-ada"
		}
		secret, token, err := b.service.Create(t.Context(), n)
		require.NoError(t, err)
		b.tokenID = token.ID
		return secret
	case "refresh":
		return b.tokens.RefreshToken
	case "ticket":
		identity, err := b.service.Authenticate(t.Context(), b.tokens.AccessToken)
		require.NoError(t, err)
		return mint(b.service, &identity, "blog", "r1")
	case "state":
		_, cookie, err := b.service.Begin(t.Context(), "acme", redirectURL)
		require.NoError(t, err)
		return cookie
	case "id token":
		return b.provider.idToken(nil)
	case "nothing":
		return ""
	}
	t.Fatalf("nothing is made from %q", from)
	return ""
}

func (b *bench) make(t *testing.T, c sample, token string) string {
	t.Helper()
	f := forgery{header: c.Header, claims: b.times(t, c.Claims), rawHeader: c.RawHeader, rawClaims: c.RawClaims, sign: c.Sign}
	if c.Pad > 0 {
		f.claims = map[string]any{"name": strings.Repeat("x", c.Pad)}
	}
	if f.header != nil || f.claims != nil || f.rawHeader+f.rawClaims+f.sign != "" {
		token = forge(t, b.service, token, f)
	}
	if c.Flip != nil {
		token = flip(t, token, c.Flip)
	}
	if c.Text != "" {
		parts := append(strings.SplitN(token, ".", 3), "", "", "")
		cut := token[:max(len(token)-1, 0)]
		other := "-"
		if strings.HasSuffix(token, other) {
			other = "_"
		}
		token = strings.NewReplacer("$token", token, "$header", parts[0], "$claims", parts[1], "$signature", parts[2], "$cut", cut,
			"$other", other).Replace(c.Text)
	}
	return strings.Repeat(token, max(c.Repeat, 1))
}

// times replaces "@1h" by the time in an hour.
func (b *bench) times(t *testing.T, claims map[string]any) map[string]any {
	t.Helper()
	for name, value := range claims {
		text, ok := value.(string)
		if span, found := strings.CutPrefix(text, "@"); ok && found {
			d, err := time.ParseDuration(span)
			require.NoError(t, err)
			claims[name] = b.clock.now().Add(d).Unix()
		}
	}
	return claims
}

// flip turns a bit of what one part stands for, so that its spelling stays proper.
func flip(t *testing.T, token string, at []int) string {
	t.Helper()
	parts := strings.Split(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[at[0]])
	require.NoError(t, err)
	i := at[1]
	if i < 0 {
		i += len(raw)
	}
	raw[i] ^= 1 << at[2]
	parts[at[0]] = base64.RawURLEncoding.EncodeToString(raw)
	return strings.Join(parts, ".")
}

// happen changes the world around a credential that was good until then.
func (b *bench) happen(t *testing.T, what string) {
	t.Helper()
	ctx, s := t.Context(), b.service
	switch what {
	case "":
	case "logout":
		require.NoError(t, s.Logout(ctx, b.tokens.Session))
	case "session ended":
		require.NoError(t, s.EndSession(ctx, "u-ada", b.tokens.Session))
	case "sessions ended":
		require.NoError(t, s.EndUser(ctx, "u-ada", "password changed"))
	case "session deleted":
		require.NoError(t, s.db.Where("id = ?", b.tokens.Session).Delete(&sessionRow{}).Error)
		b.clock.move(cacheTime)
	case "session of another user":
		require.NoError(t, s.db.Model(&sessionRow{}).Where("id = ?", b.tokens.Session).Update("user_id", "u-bob").Error)
		b.clock.move(cacheTime)
	case "refresh token reused":
		_, err := s.Refresh(ctx, b.tokens.RefreshToken, "")
		require.NoError(t, err)
		_, err = s.Refresh(ctx, b.tokens.RefreshToken, "")
		require.ErrorIs(t, err, ErrSessionEnded)
	case "user deleted":
		b.edit("u-ada", nil)
		b.clock.move(cacheTime)
	case "user disabled":
		b.edit("u-ada", func(u *User) { u.Disabled = true })
		b.clock.move(cacheTime)
	case "password changed":
		b.edit("u-ada", func(u *User) { u.Stamp = "2" })
		b.clock.move(cacheTime)
	case "token revoked":
		require.NoError(t, s.Revoke(ctx, b.tokenID))
	case "an hour passes":
		b.clock.move(time.Hour)
	case "key retired":
		past := b.clock.now()
		require.NoError(t, s.db.Model(&keyRow{}).Where("purpose = ? AND retires_at IS NULL", purposeSign).
			Updates(keyRow{RetiresAt: &past, ExpiresAt: &past}).Error)
		require.NoError(t, s.keys.ensure(ctx))
		b.clock.move(cacheTime)
	default:
		t.Fatalf("nothing happens when %q", what)
	}
}

// Without these the corpus could pass because the forgery itself is not what it claims to be.
func TestAForgeryWithoutAChangePasses(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	s := w.replica(t)
	token := ada(t, s).AccessToken
	for _, f := range []forgery{
		{}, {claims: map[string]any{"name": strings.Repeat("x", 4000)}}, {claims: map[string]any{"later": "unknown to this version"}},
		{rawHeader: `{"typ":"at+jwt","kid":"$kid","alg":"EdDSA"}`}, {rawHeader: `{$inner}`, rawClaims: `{$inner}`},
	} {
		forged := forge(t, s, token, f)
		require.NotEmpty(t, forged)
		requireAda(t, s, forged)
	}
}

package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/problem"
)

const day = 24 * time.Hour

// start is where the clocks of the tests begin.
var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// replica returns a service over dir's database; several on one dir are what several cores on one database are.
func replica(t *testing.T, dir string) (*Service, *storage.Storage, *clock) {
	t.Helper()
	store, err := storage.Open(t.Context(), storage.Options{DataDir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	c := newClock()
	return serve(t, store, Options{}, c), store, c
}

func create(t *testing.T, s *Service, n NewToken) (string, Token) {
	t.Helper()
	secret, token, err := s.Create(t.Context(), n)
	require.NoError(t, err)
	return secret, token
}

func TestATokenFromBirthToRevocation(t *testing.T) {
	t.Parallel()
	s, _, _ := replica(t, t.TempDir())
	secret, token := create(t, s, NewToken{Name: "ci", Permissions: []string{"blog.*", "billing.plan.read", "blog.*"}, TTL: day})
	require.Regexp(t, `^pfd_[A-Za-z0-9_-]{48}$`, secret)
	require.Equal(t, Token{
		ID: token.ID, Name: "ci", Permissions: []string{"blog.*", "billing.plan.read"}, CreatedAt: start, ExpiresAt: start.Add(day),
	}, token)
	require.NotContains(t, secret, token.ID)

	for range 2 { // from the database, then from memory
		identity, err := s.Authenticate(t.Context(), secret)
		require.NoError(t, err)
		require.Equal(t, Identity{
			Principal:   link.Principal{Kind: link.KindToken, ID: token.ID, Name: "ci"},
			Permissions: []string{"blog.*", "billing.plan.read"}, Session: token.ID,
		}, identity)
	}

	require.NoError(t, s.Revoke(t.Context(), token.ID))
	_, err := s.Authenticate(t.Context(), secret)
	require.ErrorIs(t, err, ErrInvalidToken)
	listed, err := s.List(t.Context(), "")
	require.NoError(t, err)
	token.RevokedAt = &start
	require.Equal(t, []Token{token}, listed)
}

func TestListIsNewestFirst(t *testing.T) {
	t.Parallel()
	s, _, clock := replica(t, t.TempDir())
	listed, err := s.List(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, listed)
	for _, name := range []string{"first", "second", "third"} {
		create(t, s, NewToken{Name: name, TTL: time.Hour})
		clock.move(time.Microsecond)
	}
	clock.move(day)
	listed, err = s.List(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, listed, 3, "expired ones too")
	require.Equal(t, []string{"third", "second", "first"}, []string{listed[0].Name, listed[1].Name, listed[2].Name})
}

func TestTokensAsJSON(t *testing.T) {
	t.Parallel()
	s, _, _ := replica(t, t.TempDir())
	_, token := create(t, s, NewToken{TTL: day})
	text, err := json.Marshal(token)
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"`+token.ID+`","name":"","permissions":[],
		"created_at":"2026-05-01T12:00:00Z","expires_at":"2026-05-02T12:00:00Z"}`, string(text))
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	s, _, clock := replica(t, t.TempDir())
	_, token := create(t, s, NewToken{TTL: day})
	for _, id := range []string{"", "absent", "%", "' OR 1=1 --"} {
		require.ErrorIs(t, s.Revoke(t.Context(), id), ErrNotFound)
	}
	require.NoError(t, s.Revoke(t.Context(), token.ID))
	clock.move(time.Hour)
	require.NoError(t, s.Revoke(t.Context(), token.ID))
	listed, err := s.List(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, start, *listed[0].RevokedAt, "the first time counts")
}

func TestTokensExpire(t *testing.T) {
	t.Parallel()
	s, _, clock := replica(t, t.TempDir())
	short, _ := create(t, s, NewToken{TTL: time.Second})
	long, _ := create(t, s, NewToken{TTL: day})
	for _, secret := range []string{short, long} {
		_, err := s.Authenticate(t.Context(), secret) // remembered from here on
		require.NoError(t, err)
	}
	clock.move(time.Second)
	_, err := s.Authenticate(t.Context(), short)
	require.ErrorIs(t, err, ErrInvalidToken)
	_, err = s.Authenticate(t.Context(), long)
	require.NoError(t, err)
	clock.move(day - time.Second)
	_, err = s.Authenticate(t.Context(), long)
	require.ErrorIs(t, err, ErrInvalidToken)
}

func TestTokensOutliveTheProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, _, _ := replica(t, dir)
	kept, _ := create(t, first, NewToken{TTL: day})
	gone, token := create(t, first, NewToken{TTL: day})
	require.NoError(t, first.Revoke(t.Context(), token.ID))

	second, _, _ := replica(t, dir)
	_, err := second.Authenticate(t.Context(), kept)
	require.NoError(t, err)
	_, err = second.Authenticate(t.Context(), gone)
	require.ErrorIs(t, err, ErrInvalidToken)
}

func TestOnlyAHashIsStored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _, _ := replica(t, dir)
	secret, token := create(t, s, NewToken{TTL: day})
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(secret, prefix))
	require.NoError(t, err)
	var files []byte
	for _, name := range []string{"core.db", "core.db-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		files = append(files, data...)
	}
	require.True(t, bytes.Contains(files, []byte(token.ID)), "the row is in there")
	for _, part := range [][]byte{[]byte(secret), []byte(secret[len(prefix):]), raw, raw[:randomBytes]} {
		require.False(t, bytes.Contains(files, part))
	}
}

func TestCreateRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	s, _, _ := replica(t, t.TempDir())
	for name, n := range map[string]NewToken{
		"no ttl":            {},
		"negative ttl":      {TTL: -time.Hour},
		"ttl of a moment":   {TTL: time.Millisecond},
		"ttl of a lifetime": {TTL: 3660 * day},
		"long name":         {TTL: day, Name: strings.Repeat("é", 101)},
		"line break":        {TTL: day, Name: "a\nb"},
		"terminal escape":   {TTL: day, Name: "a\x1b[31m"},
		"right to left":     {TTL: day, Name: "a\u202eb"},
		"not UTF-8":         {TTL: day, Name: "a\xff"},
		"empty permission":  {TTL: day, Permissions: []string{"blog.*", ""}},
		"odd permission":    {TTL: day, Permissions: []string{"a\x00"}},
		"long permission":   {TTL: day, Permissions: []string{strings.Repeat("a", 201)}},
		"many permissions":  {TTL: day, Permissions: make([]string, 201)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret, _, err := s.Create(t.Context(), n)
			require.Empty(t, secret)
			var refusal *problem.Problem
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, 400, refusal.Status)
			require.Contains(t, refusal.Detail, "fix: ")
		})
	}
	create(t, s, NewToken{TTL: 3652 * day, Name: strings.Repeat("é", 100)})
}

// What Create cannot have made costs no query: here there is nothing left to query.
func TestMalformedTokensAreRefusedWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	s, store, _ := replica(t, t.TempDir())
	secret, _ := create(t, s, NewToken{TTL: day})
	unknown, _ := newSecret()
	require.NoError(t, store.Close())
	for name, bad := range malformed(secret) {
		_, err := s.Authenticate(t.Context(), bad)
		require.ErrorIs(t, err, ErrInvalidToken, name)
	}
	_, err := s.Authenticate(t.Context(), unknown)
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrInvalidToken, "not to know is another thing than to know that it is not")
}

func malformed(secret string) map[string]string {
	last := secret[len(secret)-1]
	other := byte('A')
	if last == other {
		other = 'B'
	}
	body := secret[len(prefix):]
	return map[string]string{
		"empty": "", "prefix": prefix, "no prefix": body, "other prefix": "pfe_" + body, "upper prefix": "PFD_" + body,
		"cut": secret[:len(secret)-1], "longer": secret + "A", "padded": secret + "=", "space before": " " + secret,
		"space after": secret + " ", "line break": secret + "\n", "line break inside": secret[:20] + "\n" + secret[20:],
		"line break instead": secret[:20] + "\n" + secret[21:], "zero byte": secret[:20] + "\x00" + secret[21:],
		"last changed": secret[:len(secret)-1] + string(other), "first two swapped with others": prefix + "__" + body[2:],
		"standard base64": prefix + strings.Repeat("+/", 24), "not base64": prefix + strings.Repeat("é", 24),
		"all zero": prefix + strings.Repeat("A", 47) + "B", "huge": strings.Repeat(secret, 10_000), "quoted": `"` + secret + `"`,
		"SQL": "' OR 1=1 --", "bearer": "Bearer " + secret, "twice": secret + "," + secret,
	}
}

// The base64 decoder skips line breaks. A secret whose last byte is zero would pass without it, and have two spellings.
func TestASecretHasOneSpelling(t *testing.T) {
	t.Parallel()
	for range 100_000 {
		secret, _ := newSecret()
		raw, err := base64.RawURLEncoding.DecodeString(secret[len(prefix):])
		require.NoError(t, err)
		if raw[len(raw)-1] != 0 {
			continue
		}
		_, ok := parse(secret[:len(secret)-1] + "\n")
		require.False(t, ok)
		return
	}
	t.Fatal("no secret ended with a zero byte")
}

func TestUnknownTokensAreRefused(t *testing.T) {
	t.Parallel()
	s, _, _ := replica(t, t.TempDir())
	create(t, s, NewToken{TTL: day})
	unknown, _ := newSecret()
	_, err := s.Authenticate(t.Context(), unknown)
	require.ErrorIs(t, err, ErrInvalidToken)
	require.Empty(t, s.cache.entries, "guesses take no memory")
}

func TestATokenInUseCostsNoQuery(t *testing.T) {
	t.Parallel()
	s, store, clock := replica(t, t.TempDir())
	secret, _ := create(t, s, NewToken{TTL: day})
	_, err := s.Authenticate(t.Context(), secret)
	require.NoError(t, err)
	require.NoError(t, store.Close())
	clock.move(cacheTime - time.Nanosecond)
	_, err = s.Authenticate(t.Context(), secret)
	require.NoError(t, err)
	clock.move(time.Nanosecond)
	_, err = s.Authenticate(t.Context(), secret)
	require.ErrorContains(t, err, "look up the token")
}

func TestTheLookupUsesTheIndex(t *testing.T) {
	t.Parallel()
	_, store, _ := replica(t, t.TempDir())
	var plan []struct{ Detail string }
	query := "EXPLAIN QUERY PLAN SELECT * FROM auth_tokens WHERE hash = ? LIMIT 1"
	require.NoError(t, store.Core().Raw(query, []byte{1}).Scan(&plan).Error)
	require.Len(t, plan, 1)
	require.Contains(t, plan[0].Detail, "USING INDEX idx_auth_tokens_hash")
}

func TestRevokedElsewhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	here, _, clock := replica(t, dir)
	there, _, _ := replica(t, dir)
	secret, token := create(t, here, NewToken{TTL: day})
	_, err := here.Authenticate(t.Context(), secret)
	require.NoError(t, err)
	require.NoError(t, there.Revoke(t.Context(), token.ID))
	clock.move(cacheTime)
	_, err = here.Authenticate(t.Context(), secret)
	require.ErrorIs(t, err, ErrInvalidToken)
}

// However requests and a revocation fall together: after Revoke has returned, the token is refused.
func TestRevokeUnderLoad(t *testing.T) {
	t.Parallel()
	s, _, _ := replica(t, t.TempDir())
	for range 20 {
		secret, token := create(t, s, NewToken{TTL: day})
		stop := make(chan struct{})
		var busy sync.WaitGroup
		for range 4 {
			busy.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = s.Authenticate(t.Context(), secret)
					}
				}
			})
		}
		require.NoError(t, s.Revoke(t.Context(), token.ID))
		for range 10 {
			_, err := s.Authenticate(t.Context(), secret)
			require.ErrorIs(t, err, ErrInvalidToken)
		}
		close(stop)
		busy.Wait()
	}
}

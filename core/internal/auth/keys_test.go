package auth

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
)

func rowsOf(t *testing.T, s *Service) (rows []keyRow) {
	t.Helper()
	require.NoError(t, s.db.Order("created_at, signs_at").Find(&rows).Error)
	return rows
}

// Eight daemons that start on an empty database make one key for each purpose, and read each other's tokens.
func TestEightDaemonsMakeOneKey(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		services := make([]*Service, 8)
		stores := make([]*storage.Storage, len(services))
		for i := range stores {
			stores[i] = w.store(t)
		}
		var all sync.WaitGroup
		for i := range services {
			all.Go(func() {
				s, err := New(t.Context(), stores[i].Core(), Options{Users: w.users()})
				if err != nil {
					t.Error(err)
				}
				services[i] = s
			})
		}
		all.Wait()
		require.False(t, t.Failed())
		rows := rowsOf(t, services[0])
		require.Len(t, rows, 2)
		require.NotEqual(t, rows[0].Purpose, rows[1].Purpose)
		for _, s := range services {
			requireAda(t, services[0], ada(t, s).AccessToken)
		}
	})
}

// A rotation never makes a good token bad: at no moment does a replica meet one by a key that it does not know, or knows no more.
func TestARotationIsNotNoticed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		here, there := w.replica(t), w.replica(t)
		require.NoError(t, here.Rotate(t.Context()))
		require.Len(t, rowsOf(t, here), 4)
		kids := map[string]bool{}
		tokens := map[string]time.Time{}
		for range 40 { // 33 minutes
			for _, s := range []*Service{here, there} {
				token := ada(t, s).AccessToken
				kid, ok := readHeader(token)
				require.True(t, ok)
				kids[kid] = true
				tokens[token] = w.clock.now().Add(15 * time.Minute)
			}
			for token, expires := range tokens {
				if !w.clock.now().Before(expires) {
					delete(tokens, token)
					continue
				}
				requireAda(t, here, token)
				requireAda(t, there, token)
			}
			w.clock.move(50 * time.Second)
		}
		require.Len(t, kids, 2)
		var current keyRow
		require.NoError(t, here.db.Take(&current, "purpose = ? AND retires_at IS NULL", purposeSign).Error)
		kid, _ := readHeader(ada(t, there).AccessToken)
		require.Equal(t, current.ID, kid)
		w.clock.move(keyLife + day)
		require.NoError(t, here.keys.sweep(t.Context()))
		require.Len(t, rowsOf(t, here), 2, "the old ones are gone")
	})
}

func TestTheOldKeyOutlivesItsTokens(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	s := w.replica(t)
	first := s.keys.set.Load().signer(purposeSign, w.clock.now())
	require.NoError(t, s.Rotate(t.Context()))
	w.clock.move(keySpread - time.Second)
	last := ada(t, s).AccessToken
	kid, _ := readHeader(last)
	require.Equal(t, first.ID, kid, "it signs until all replicas know the next")
	w.clock.move(time.Second)
	kid, _ = readHeader(ada(t, s).AccessToken)
	require.NotEqual(t, first.ID, kid)
	w.clock.move(14 * time.Minute)
	requireAda(t, s, last)
	w.clock.move(time.Minute)
	requireInvalid(t, s, last)
	w.clock.move(keySlack - time.Second)
	found, err := s.keys.find(t.Context(), purposeSign, first.ID)
	require.NoError(t, err)
	require.NotNil(t, found)
	w.clock.move(time.Second)
	_, err = s.keys.find(t.Context(), purposeSign, first.ID)
	require.Equal(t, errUnknownKey, err)
}

// counting counts the readings of the table of keys.
func counting(t *testing.T, s *Service) *atomic.Int64 {
	t.Helper()
	n := new(atomic.Int64)
	require.NoError(t, s.db.Callback().Query().Before("gorm:query").Register("count", func(tx *gorm.DB) {
		if tx.Statement.Table == keysTable {
			n.Add(1)
		}
	}))
	return n
}

// A flood of tokens with unknown keys costs one query per five seconds, from however many clients.
func TestUnknownKeysCauseNoStampede(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	s := w.replica(t)
	n := counting(t, s)
	token := ada(t, s).AccessToken
	bad := forge(t, s, token, forgery{header: map[string]any{"kid": "0123456789abcdef"}})
	flood := func() {
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, err := s.Authenticate(t.Context(), bad); err != ErrInvalidToken { //nolint:errorlint // this one and nothing around it
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	flood()
	require.EqualValues(t, 0, n.Load(), "they were read when the service began")
	w.clock.move(keyPause)
	flood()
	flood()
	require.EqualValues(t, 1, n.Load())
	w.clock.move(keyPause - time.Nanosecond)
	flood()
	require.EqualValues(t, 1, n.Load())
	w.clock.move(time.Nanosecond)
	flood()
	require.EqualValues(t, 2, n.Load())
}

// Who waits for another one's reading leaves when its own time is up.
func TestWaitingForTheKeysEnds(t *testing.T) {
	t.Parallel()
	s := onSQLite(t).replica(t)
	s.keys.reading <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := s.keys.find(ctx, purposeSign, "unknown")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestADamagedKeyIsNotUsed(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	store := w.store(t)
	s := serve(t, store, Options{}, w.clock)
	require.NoError(t, s.db.Model(&keyRow{}).Where("purpose = ?", purposeSign).Update("private", []byte("short")).Error)
	_, err := open(t.Context(), store.Core(), Options{}, w.clock.now)
	require.ErrorContains(t, err, "is damaged (fix: ")
}

func TestADeletedKeyIsReplaced(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	s := w.replica(t)
	old := ada(t, s).AccessToken
	require.NoError(t, s.db.Where("purpose = ?", purposeSign).Delete(&keyRow{}).Error)
	w.clock.move(keyAge)
	requireAda(t, s, ada(t, s).AccessToken)
	requireInvalid(t, s, old)
}

func TestJWKS(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		s := w.replica(t)
		token := ada(t, s).AccessToken
		require.NoError(t, s.Rotate(t.Context()))
		document, err := s.JWKS(t.Context())
		require.NoError(t, err)
		var set struct{ Keys []map[string]string }
		require.NoError(t, json.Unmarshal(document, &set))
		require.Len(t, set.Keys, 2, "the next one too, so that others learn of it in time")
		verified := 0
		for _, k := range set.Keys {
			x, err := base64.RawURLEncoding.DecodeString(k["x"])
			require.NoError(t, err)
			require.Equal(t, map[string]string{
				"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": k["kid"], "x": k["x"],
			}, k, "and nothing that is private")
			_, err = jwt.Parse(token, func(*jwt.Token) (any, error) { return ed25519.PublicKey(x), nil }, jwt.WithTimeFunc(w.clock.now))
			if err == nil {
				verified++
			}
		}
		require.Equal(t, 1, verified, "others can verify our tokens with it")
		for _, r := range rowsOf(t, s) {
			require.NotContains(t, string(document), base64.RawURLEncoding.EncodeToString(r.Private))
		}
		w.clock.move(day)
		document, err = s.JWKS(t.Context())
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(document, &set))
		require.Len(t, set.Keys, 1)
	})
}

// Run replaces keys that are 90 days old; of several daemons one does.
func TestOldKeysAreReplaced(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		services := []*Service{w.replica(t), w.replica(t), w.replica(t)}
		sweep := func() {
			var all sync.WaitGroup
			for _, s := range services {
				all.Go(func() {
					if err := s.sweep(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
		}
		w.clock.move(keyLife)
		sweep()
		require.Len(t, rowsOf(t, services[0]), 2)
		w.clock.move(time.Second)
		sweep()
		require.Len(t, rowsOf(t, services[0]), 4)
	})
}

func TestRunEndsAndWritesDown(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	s := w.replica(t)
	secret, _, err := s.Create(t.Context(), NewToken{TTL: day})
	require.NoError(t, err)
	_, err = s.Authenticate(t.Context(), secret)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.Run(ctx))
	listed, err := s.List(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, start, *listed[0].LastUsedAt)
}

package auth

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/problem"
)

func TestAPersonalTokenStandsForItsOwner(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		s := w.replica(t)
		secret, token, err := s.Create(t.Context(), NewToken{Name: "laptop", Owner: "u-ada", Permissions: []string{"blog.*"}, TTL: day})
		require.NoError(t, err)
		require.Equal(t, "u-ada", token.Owner)
		for range 2 { // from the database, then from memory
			identity, err := s.Authenticate(t.Context(), secret)
			require.NoError(t, err)
			require.Equal(t, Identity{
				Principal:   link.Principal{Kind: link.KindUser, ID: "u-ada", Name: "Ada"},
				Permissions: []string{"blog.*"}, Session: token.ID,
			}, identity)
		}
		require.NoError(t, s.Revoke(t.Context(), token.ID))
		requireInvalid(t, s, secret)
	})
}

// A token without scopes opens nothing. To authz nil would be all that the owner may.
func TestAPersonalTokenIsAlwaysBounded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		s := w.replica(t)
		secret, token, err := s.Create(t.Context(), NewToken{Owner: "u-ada", TTL: day})
		require.NoError(t, err)
		for _, stored := range []string{"[]", "null"} {
			require.NoError(t, s.db.Exec("UPDATE auth_tokens SET permissions = ?", stored).Error)
			s.cache.forgetSession(token.ID)
			identity, err := s.Authenticate(t.Context(), secret)
			require.NoError(t, err)
			require.NotNil(t, identity.Permissions, stored)
			require.Empty(t, identity.Permissions)
		}
	})
}

func TestOnlyUsersOwnTokens(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	s := w.replica(t)
	w.edit("u-bob", func(u *User) { u.Disabled = true })
	for _, owner := range []string{"u-nobody", "u-bob"} {
		_, _, err := s.Create(t.Context(), NewToken{Owner: owner, TTL: day})
		var refusal *problem.Problem
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, 400, refusal.Status)
	}
	w.setDown(true)
	_, _, err := s.Create(t.Context(), NewToken{Owner: "u-ada", TTL: day})
	require.ErrorIs(t, err, errOutage)
}

func TestListOfOneOwner(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		s := w.replica(t)
		for _, owner := range []string{"", "u-ada", "u-bob", "u-ada"} {
			_, _, err := s.Create(t.Context(), NewToken{Owner: owner, TTL: day})
			require.NoError(t, err)
		}
		for owner, want := range map[string]int{"": 4, "u-ada": 2, "u-bob": 1, "u-eve": 0, "%": 0} {
			listed, err := s.List(t.Context(), owner)
			require.NoError(t, err)
			require.Len(t, listed, want, owner)
			for _, token := range listed {
				require.True(t, owner == "" || token.Owner == owner)
			}
		}
	})
}

// Use is written down once a minute, and no request writes.
func TestUseIsWrittenDown(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		here, there := w.replica(t), w.replica(t)
		secret, _, err := here.Create(t.Context(), NewToken{TTL: day})
		require.NoError(t, err)
		lastUsed := func() *time.Time {
			listed, err := here.List(t.Context(), "")
			require.NoError(t, err)
			return listed[0].LastUsedAt
		}
		var writes int
		require.NoError(t, here.db.Callback().Update().Before("gorm:update").Register("count", func(*gorm.DB) { writes++ }))
		for range 100 {
			_, err := here.Authenticate(t.Context(), secret)
			require.NoError(t, err)
			w.clock.move(time.Second)
		}
		require.Zero(t, writes)
		require.Nil(t, lastUsed())
		require.NoError(t, here.saveUsage(t.Context()))
		require.Equal(t, 1, writes)
		used := lastUsed()
		require.WithinDuration(t, w.clock.now(), *used, cacheTime+time.Second)
		require.NoError(t, here.saveUsage(t.Context()))
		require.Equal(t, 1, writes, "nothing new")

		there.usage.note(tokenID(t, here), start) // a replica that is late
		require.NoError(t, there.saveUsage(t.Context()))
		require.Equal(t, used, lastUsed())
	})
}

func tokenID(t *testing.T, s *Service) string {
	t.Helper()
	listed, err := s.List(t.Context(), "")
	require.NoError(t, err)
	return listed[0].ID
}

func TestUseThatCannotBeWrittenIsKept(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	store := w.store(t)
	s := serve(t, store, Options{}, w.clock)
	s.usage.note("a", start)
	require.NoError(t, store.Close())
	require.Error(t, s.saveUsage(t.Context()))
	require.Equal(t, map[string]time.Time{"a": start}, s.usage.take())
}

// A database of the version before this one keeps its tokens.
func TestTokensOfTheVersionBefore(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		store := w.store(t)
		require.NoError(t, storage.MigrateCore(store.Core(), "auth", steps()[0]))
		secret, hash := newSecret()
		require.NoError(t, store.Core().Exec("INSERT INTO auth_tokens (id, hash, name, permissions, created_at, expires_at) "+
			"VALUES ('old', ?, 'ci', '[\"blog.*\"]', ?, ?)", hash[:], start, start.Add(day)).Error)
		s := serve(t, store, Options{}, w.clock)
		identity, err := s.Authenticate(t.Context(), secret)
		require.NoError(t, err)
		require.Equal(t, Identity{
			Principal: link.Principal{Kind: link.KindToken, ID: "old", Name: "ci"}, Permissions: []string{"blog.*"}, Session: "old",
		}, identity)
	})
}

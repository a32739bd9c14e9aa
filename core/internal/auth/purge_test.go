package auth

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTokensLoseAModule(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		s := w.replica(t)
		make := func(permissions ...string) (secret, id string) {
			secret, token, err := s.Create(t.Context(), NewToken{Permissions: permissions, TTL: day})
			require.NoError(t, err)
			_, err = s.Authenticate(t.Context(), secret) // it is remembered
			require.NoError(t, err)
			return secret, token.ID
		}
		gone, goneID := make("blog.*", "blog.post.read")
		less, lessID := make("blog.post.*", "billing.*")
		kept, _ := make("blogger.*", "*")
		_, _ = make()
		naming, err := s.Naming(t.Context(), "blog")
		require.NoError(t, err)
		require.ElementsMatch(t, []string{goneID, lessID}, []string{naming[0].ID, naming[1].ID})
		for range 2 {
			require.NoError(t, s.PurgeModule(t.Context(), "blog"))
		}
		requireInvalid(t, s, gone)
		for secret, want := range map[string][]string{less: {"billing.*"}, kept: {"blogger.*", "*"}} {
			identity, err := s.Authenticate(t.Context(), secret)
			require.NoError(t, err)
			require.Equal(t, want, identity.Permissions)
		}
		naming, err = s.Naming(t.Context(), "blog")
		require.NoError(t, err)
		require.Empty(t, naming)
		all, err := s.List(t.Context(), "")
		require.NoError(t, err)
		require.Len(t, all, 3)
	})
}

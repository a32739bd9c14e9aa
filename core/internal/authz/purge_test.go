package authz

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/manifest"
)

func TestPurgeLeavesWhatIsOthers(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		s := start(Options{})
		ctx := t.Context()
		require.NoError(t, s.Registry.Set("shop", []manifest.Permission{
			{Name: "shop.cart.read", Description: "See carts", Roles: []string{"member"}},
		}))
		require.NoError(t, s.CreateRole(ctx, "editor", "Ours"))
		s.ok(s.Assign(ctx, "author", ToUser("ada")), s.Assign(ctx, "member", ToUser("ada")), s.Assign(ctx, "editor", ToUser("ada")),
			s.Grant(ctx, "editor", "blog.post.*", "billing.plan.read"), s.Revoke(ctx, "member", "blog.comment.read"))
		other := start(Options{Registry: s.Registry})
		s.Registry.Remove("blog") // it may be gone for long
		bound, err := s.Bindings(ctx, "blog")
		require.NoError(t, err)
		require.Equal(t, Bindings{
			Patterns: []Binding{
				{Role: "editor", Pattern: "blog.post.*", Granted: true}, {Role: "member", Pattern: "blog.comment.read"},
			},
			Roles: []string{"author"}, Assignments: []Assignment{{Role: "author", Subject: ToUser("ada")}},
		}, bound)
		for range 2 {
			require.NoError(t, s.Purge(ctx, "blog"))
		}
		require.NoError(t, s.Purge(ctx, "blo"), "which nothing is of")
		bound, err = s.Bindings(ctx, "blog")
		require.NoError(t, err)
		require.Equal(t, Bindings{Patterns: []Binding{}, Roles: []string{}, Assignments: []Assignment{}}, bound)
		require.NoError(t, s.Registry.Set("blog", blogPermissions()))
		for _, r := range []*replica{s, other} {
			require.NoError(t, r.Refresh(ctx))
			require.Equal(t, []string{"billing.plan.read", "blog.comment.read", "blog.post.read", "shop.cart.read"}, r.holds("ada"))
		}
		require.Equal(t, "From the manifest of shop", s.role("member").Description)
		s.Registry.Remove("blog")
		s.Registry.Remove("shop")
		require.NoError(t, s.Purge(ctx, "shop"))
		require.Equal(t, []string{"billing.plan.read"}, s.holds("ada"), "the role that was both modules' went with the last one")
	})
}

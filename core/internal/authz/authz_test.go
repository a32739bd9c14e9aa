package authz_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// perms makes permissions of their names.
func perms(names ...string) []manifest.Permission {
	list := make([]manifest.Permission, len(names))
	for i, name := range names {
		list[i] = manifest.Permission{Name: name, Description: "what " + name + " allows", Roles: []string{"member"}}
	}
	return list
}

func names(r *authz.Registry) string {
	var all []string
	for _, p := range r.All() {
		all = append(all, p.Name)
	}
	return strings.Join(all, " ")
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	r := authz.NewRegistry()
	require.NotNil(t, r.All(), "an empty list in JSON, not null")
	require.Empty(t, r.All())
	require.NoError(t, r.Set("blog", perms("blog.post.read", "blog.post.create")))
	require.NoError(t, r.Set("billing", perms("billing.plan.read")))
	require.Equal(t, "billing.plan.read blog.post.create blog.post.read", names(r))
	require.Equal(t, authz.Permission{
		Name: "billing.plan.read", Module: "billing", Description: "what billing.plan.read allows", Roles: []string{"member"},
	}, r.All()[0])

	require.NoError(t, r.Set("blog", perms("blog.post.delete")))
	require.Equal(t, "billing.plan.read blog.post.delete", names(r), "the old ones are gone")
	r.Remove("blog")
	r.Remove("absent")
	require.Equal(t, "billing.plan.read", names(r))
	require.NoError(t, r.Set("billing", nil))
	require.Empty(t, r.All())
}

func TestSetRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		perms []manifest.Permission
		says  string
	}{
		"another module's":  {perms("blog.post.read", "billing.plan.read"), "billing.plan.read belongs to another module"},
		"a longer name":     {perms("blogger.post.read"), "belongs to another module"},
		"the same twice":    {perms("blog.post.read", "blog.post.read"), "declared twice"},
		"two segments":      {perms("blog.read"), "is not a permission"},
		"a pattern":         {perms("blog.post.*"), "is not a permission"},
		"an empty name":     {perms(""), "is not a permission"},
		"upper case":        {perms("blog.Post.read"), "is not a permission"},
		"something after":   {perms("blog.post.read\n"), "is not a permission"},
		"a terminal escape": {perms("blog.post.\x1b"), `"blog.post.\x1b"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := authz.NewRegistry()
			require.NoError(t, r.Set("blog", perms("blog.comment.read")))
			err := r.Set("blog", test.perms)
			require.ErrorContains(t, err, "module blog: ")
			require.ErrorContains(t, err, test.says)
			require.ErrorContains(t, err, "fix: ")
			require.Equal(t, "blog.comment.read", names(r), "nothing has changed")
		})
	}
}

func TestRegistryIsItsOwn(t *testing.T) {
	t.Parallel()
	r := authz.NewRegistry()
	list := perms("blog.post.read")
	require.NoError(t, r.Set("blog", list))
	list[0].Roles[0] = "admin"
	r.All()[0].Name = "changed"
	require.Equal(t, "blog.post.read", r.All()[0].Name)
	require.Equal(t, "member", r.All()[0].Roles[0])
}

func TestRegistryUnderLoad(t *testing.T) {
	t.Parallel()
	r := authz.NewRegistry()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			module := fmt.Sprintf("m%d", i)
			for range 100 {
				_ = r.Set(module, perms(module+".a.b"))
				_ = r.CheckPattern(module + ".*")
				r.Remove(module)
			}
		})
	}
	all.Wait()
	require.Empty(t, r.All())
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for pattern, test := range map[string]struct{ yes, no string }{ // separated by |
		"*":                {"blog.post.read|billing.plan.read", "|*|blog.*|blog.post.*"},
		"blog.*":           {"blog.post.read|blog.comment.create", "|blog|blogger.post.read|billing.blog.read|blog.*"},
		"blog.post.*":      {"blog.post.read|blog.post.delete", "blog.posts.read|blog.comment.read|blog.post"},
		"blog.post.read":   {"blog.post.read", "blog.post.reads|blog.post|Blog.post.read|blog.post.read |xblog.post.read"},
		"":                 {"", "|blog.post.read"},
		"**":               {"", "blog.post.read"},
		".*":               {"", "blog.post.read|.x"},
		"blog*":            {"", "blog.post.read|blog*"},
		"blog.po*":         {"", "blog.post.read"},
		"*.read":           {"", "blog.post.read"},
		"*.*":              {"", "blog.post.read|*.x"},
		"*.post.*":         {"", "blog.post.read|*.post.read"},
		"blog.*.read":      {"", "blog.post.read|blog.*.read"},
		"blog.post.read.*": {"", "blog.post.read"},
		"BLOG.*":           {"", "blog.post.read"},
		" blog.*":          {"", "blog.post.read"},
	} {
		for permission := range strings.SplitSeq(test.yes, "|") {
			require.Equal(t, test.yes != "", authz.Match(pattern, permission), "%q covers %q", pattern, permission)
		}
		for permission := range strings.SplitSeq(test.no, "|") {
			require.False(t, authz.Match(pattern, permission), "%q does not cover %q", pattern, permission)
		}
	}
}

func TestAllows(t *testing.T) {
	t.Parallel()
	require.True(t, authz.Allows([]string{"billing.*", "blog.post.read"}, "blog.post.read"))
	require.False(t, authz.Allows([]string{"billing.*", "blog.post.create"}, "blog.post.read"))
	require.False(t, authz.Allows(nil, "blog.post.read"))
	require.False(t, authz.Allows([]string{"*"}, ""), "a route that forgot its permission is closed")
}

func known(t *testing.T) *authz.Registry {
	t.Helper()
	r := authz.NewRegistry()
	require.NoError(t, r.Set("blog", perms("blog.post.read", "blog.post.create", "blog.comment.read")))
	require.NoError(t, r.Set("billing", perms("billing.plan.read")))
	return r
}

func TestCheckPatternAccepts(t *testing.T) {
	t.Parallel()
	r := known(t)
	for _, pattern := range []string{"*", "blog.*", "blog.post.*", "blog.post.read", "billing.plan.read"} {
		require.NoError(t, r.CheckPattern(pattern), pattern)
	}
	require.NoError(t, authz.NewRegistry().CheckPattern("*"), "even before the first module")
}

func TestCheckPatternRefusesWhatIsNone(t *testing.T) {
	t.Parallel()
	r := known(t)
	for _, pattern := range []string{
		"", " ", "blog", "blog.post", "blog.", ".*", "**", "blog*", "blog.po*", "*.read", "blog.*.read", "blog.post.read.*",
		"blog.post.read.x", "Blog.*", " blog.*", "blog.* ", "blog.*\n", "blog,billing", "blog.post.\x1b[31m",
		strings.Repeat("a", 10_000),
	} {
		err := r.CheckPattern(pattern)
		var malformed *authz.PatternError
		require.ErrorAs(t, err, &malformed, "%q", pattern)
		require.ErrorContains(t, err, "fix: ")
		require.NotContains(t, err.Error(), "\x1b")
		require.Less(t, len(err.Error()), 400)
		require.False(t, authz.Allows([]string{pattern}, "blog.post.read"), "and if it is held all the same, it opens nothing")
	}
}

func TestCheckPatternKnowsWhatWasMeant(t *testing.T) {
	t.Parallel()
	r := known(t)
	for pattern, want := range map[string]string{
		"blog.post.raed":   "blog.post.read",
		"blgo.post.read":   "blog.post.read",
		"blog.posts.read":  "blog.post.read",
		"blgo.*":           "blog.*",
		"blog.pots.*":      "blog.post.*",
		"biling.plan.*":    "billing.plan.*",
		"shop.cart.empty":  "",
		"quitedifferent.*": "",
	} {
		err := r.CheckPattern(pattern)
		var unknown *authz.UnknownError
		require.ErrorAs(t, err, &unknown, pattern)
		require.ErrorContains(t, err, "no module has a permission "+pattern)
		require.ErrorContains(t, err, "fix: ")
		if want == "" {
			require.Empty(t, unknown.Near, pattern)
			continue
		}
		require.NotEmpty(t, unknown.Near, pattern)
		require.Equal(t, want, unknown.Near[0])
		require.ErrorContains(t, err, "perhaps "+want)
	}
}

func TestCheckPatternSuggestsFew(t *testing.T) {
	t.Parallel()
	r := authz.NewRegistry()
	var many []string
	for c := 'a'; c <= 'z'; c++ {
		many = append(many, "blog.post.rea"+string(c))
	}
	require.NoError(t, r.Set("blog", perms(many...)))
	var unknown *authz.UnknownError
	require.ErrorAs(t, r.CheckPattern("blog.post.rea"), &unknown)
	require.Len(t, unknown.Near, 5)
}

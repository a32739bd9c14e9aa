package authz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/problem"
)

func TestARoleFromBirthToDeath(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, ctx := start(Options{}), t.Context()
		require.False(t, r.allows("ada", "blog.post.delete"), "nobody may do anything at first")
		r.ok(r.CreateRole(ctx, "editor", "Edits"), r.Grant(ctx, "editor", "blog.post.*", "billing.plan.read"))
		r.ok(r.Assign(ctx, "editor", ToUser("ada"), ToUser("ada")))
		require.Equal(t, []string{"billing.plan.read", "blog.post.create", "blog.post.delete", "blog.post.read"}, r.holds("ada"))
		require.Empty(t, r.holds("eve"))
		require.Equal(t, Role{
			Name: "editor", Description: "Edits", Users: 1,
			Patterns: []RolePattern{{Pattern: "billing.plan.read"}, {Pattern: "blog.post.*"}},
		}, r.role("editor"))

		r.ok(r.Revoke(ctx, "editor", "billing.*"))
		require.False(t, r.allows("ada", "billing.plan.read"), "at once")
		r.ok(r.Unassign(ctx, "editor", ToUser("ada")))
		require.Empty(t, r.holds("ada"))

		r.ok(r.Assign(ctx, "editor", ToUser("ada")), r.DeleteRole(ctx, "editor"), r.CreateRole(ctx, "editor", ""))
		require.Empty(t, r.holds("ada"), "the new role has nothing to do with the old one")
		require.Zero(t, r.role("editor").Users)
	})
}

func TestGroups(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, ctx := start(Options{}), t.Context()
		r.ok(r.CreateGroup(ctx, "staff", "All of us"), r.AddMembers(ctx, "staff", "ada", "bob", "ada"),
			r.AddMembers(ctx, "staff", "bob"), r.Assign(ctx, "author", ToGroup("staff")))
		require.True(t, r.allows("bob", "blog.post.create"))
		groups, err := r.Groups(ctx)
		require.NoError(t, err)
		require.Equal(t, []Group{{Name: "staff", Description: "All of us", Members: 2, Roles: []string{"author"}}}, groups)
		of, err := r.GroupsOf(ctx, "bob")
		require.NoError(t, err)
		require.Equal(t, []string{"staff"}, of)
		members, err := r.Members(ctx, "staff")
		require.NoError(t, err)
		require.Equal(t, []string{"ada", "bob"}, members)
		require.Equal(t, 1, r.role("author").Groups)

		r.ok(r.RemoveMembers(ctx, "staff", "bob", "nobody"))
		require.False(t, r.allows("bob", "blog.post.create"))
		require.True(t, r.allows("ada", "blog.post.create"))
		r.ok(r.DeleteGroup(ctx, "staff"), r.CreateGroup(ctx, "staff", ""), r.AddMembers(ctx, "staff", "bob"))
		require.Empty(t, r.holds("ada"))
		require.Empty(t, r.holds("bob"), "the new group has nothing to do with the old one")
		members, err = r.Members(ctx, "staff")
		require.NoError(t, err)
		require.Equal(t, []string{"bob"}, members)
	})
}

func TestManyMembersAtOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, ctx := start(Options{}), t.Context()
		users := make([]string, 2*batch+1)
		for i := range users {
			users[i] = fmt.Sprintf("user-%d", i)
		}
		r.ok(r.CreateGroup(ctx, "all", ""), r.AddMembers(ctx, "all", users...), r.Assign(ctx, "member", ToGroup("all")))
		for _, user := range users {
			require.True(t, r.allows(user, "blog.post.read"))
		}
		r.ok(r.RemoveMembers(ctx, "all", users...))
		require.Empty(t, r.holds(users[len(users)-1]))
	})
}

func TestDefaultRoles(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, ctx := start(Options{}), t.Context()
		require.Equal(t, []RolePattern{
			{Pattern: "blog.comment.read", Module: "blog"}, {Pattern: "blog.post.read", Module: "blog"},
		}, r.role("member").Patterns, "it is there although nobody made it")
		r.ok(r.Assign(ctx, "member", ToUser("ada")), r.Assign(ctx, "author", ToUser("bob")))
		require.Equal(t, []string{"blog.comment.read", "blog.post.read"}, r.holds("ada"))

		r.ok(r.Revoke(ctx, "member", "blog.post.read"))
		require.Equal(t, []string{"blog.comment.read"}, r.holds("ada"))
		require.Equal(t, []string{"blog.post.read"}, r.role("member").Revoked)
		require.True(t, r.allows("bob", "blog.post.read"), "another role keeps it")
		require.NoError(t, r.Registry.Set("blog", blogPermissions()))
		require.Equal(t, []string{"blog.comment.read"}, r.holds("ada"), "revoked stays revoked when the module comes again")
		require.Equal(t, []string{"blog.comment.read"}, start(Options{}).holds("ada"), "and after a start")

		r.ok(r.Grant(ctx, "member", "blog.post.read"))
		require.Equal(t, []string{"blog.comment.read", "blog.post.read"}, r.holds("ada"))
		require.Empty(t, r.role("member").Revoked)
		r.ok(r.Revoke(ctx, "author", "blog.post.read"), r.Grant(ctx, "author", "blog.*"))
		require.Empty(t, r.role("author").Revoked, "the wider grant is the last word")
		r.Registry.Remove("blog")
		require.Empty(t, r.holds("ada"), "the module's permissions go with it")
		require.Equal(t, []RolePattern{{Pattern: "blog.post.read", Orphan: true}}, r.role("member").Patterns)
		require.Equal(t, 1, r.role("author").Users, "who was given a default role keeps it until the module is back")
		require.NoError(t, r.Registry.Set("blog", blogPermissions()))
		require.True(t, r.allows("bob", "blog.post.create"))
	})
}

// What was revoked must not return by any later version of a module, nor hide behind what the operator granted as well.
func TestRevokedIsRevoked(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, ctx := start(Options{}), t.Context()
		r.ok(r.Assign(ctx, "member", ToUser("ada")), r.Grant(ctx, "member", "blog.post.read"))
		r.ok(r.Revoke(ctx, "member", "blog.post.read"))
		require.False(t, r.allows("ada", "blog.post.read"), "the default is not uncovered by the revocation of the grant")

		r.ok(r.Revoke(ctx, "member", "blog.*"))
		later := append(blogPermissions(), manifest.Permission{Name: "blog.tag.read", Roles: []string{"member"}})
		require.NoError(t, r.Registry.Set("blog", later))
		require.Empty(t, r.holds("ada"))
		r.ok(r.Grant(ctx, "member", "blog.tag.*"))
		require.Equal(t, []string{"blog.tag.read"}, r.holds("ada"), "the last word counts")

		r.ok(r.Grant(ctx, "member", "billing.plan.read"))
		r.Registry.Remove("billing")
		r.ok(r.Revoke(ctx, "member", "billing.plan.read"))
		require.NoError(t, r.Registry.Set("billing", []manifest.Permission{{Name: "billing.plan.read", Roles: []string{"member"}}}))
		require.False(t, r.allows("ada", "billing.plan.read"), "revoked while the module was away")
	})
}

func TestRevokeWhatIsNotThere(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, ctx := start(Options{}), t.Context()
		r.ok(r.CreateRole(ctx, "editor", ""), r.Grant(ctx, "editor", "blog.*", "blog.post.read"))
		for pattern, through := range map[string]string{
			"billing.plan.read": "", "billing.*": "", "blog.post.read": "blog.*", "blog.comment.*": "blog.*",
		} {
			var refused *NotHeldError
			require.ErrorAs(t, r.Revoke(ctx, "editor", pattern), &refused, pattern)
			require.Equal(t, through, refused.Through, pattern)
		}
		require.Len(t, r.role("editor").Patterns, 2, "nothing has changed")
		r.ok(r.Revoke(ctx, "editor", "blog.post.read", "blog.*"))
		require.Empty(t, r.role("editor").Patterns)
	})
}

func TestOrphans(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, ctx := start(Options{}), t.Context()
		r.ok(r.CreateRole(ctx, "editor", ""), r.Grant(ctx, "editor", "blog.*", "billing.plan.read"),
			r.CreateRole(ctx, "empty", ""), r.CreateRole(ctx, "clerk", ""), r.Grant(ctx, "clerk", "billing.*"))
		found, err := r.Orphans(ctx)
		require.NoError(t, err)
		require.Equal(t, Orphans{Patterns: []OrphanPattern{}, Roles: []string{"empty"}}, found)
		r.Registry.Remove("billing")
		found, err = r.Orphans(ctx)
		require.NoError(t, err)
		require.Equal(t, Orphans{
			Patterns: []OrphanPattern{{"clerk", "billing.*"}, {"editor", "billing.plan.read"}}, Roles: []string{"clerk", "empty"},
		}, found)
		r.ok(r.Revoke(ctx, "clerk", "billing.*"))
	})
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, ctx := start(Options{}), t.Context()
		r.ok(r.Assign(ctx, Admin, ToUser("ada")))
		require.Len(t, r.holds("ada"), 5)
		require.True(t, r.allows("ada", "platform.key.rotate"))
		require.False(t, r.allows("ada", "shop.cart.read"), "what nobody has declared is allowed to nobody")
		require.NoError(t, r.Registry.Set("shop", []manifest.Permission{{Name: "shop.cart.read"}}))
		require.True(t, r.allows("ada", "shop.cart.read"), "a module that has just come")
		for _, err := range []error{
			r.DeleteRole(ctx, Admin), r.Grant(ctx, Admin, "blog.*"), r.Revoke(ctx, Admin, "*"),
		} {
			require.ErrorIs(t, err, ErrBuiltIn)
		}
		var exists *ExistsError
		require.ErrorAs(t, r.CreateRole(ctx, Admin, ""), &exists)
		require.Equal(t, Role{
			Name: Admin, Description: "May do everything", BuiltIn: true, Patterns: []RolePattern{{Pattern: "*"}}, Users: 1,
		}, r.role(Admin))
		require.NoError(t, r.store.Core().Exec("INSERT INTO authz_role_patterns VALUES (?, ?, ?, ?)", Admin, "*", false, r.Now()).Error)
		require.NoError(t, r.store.Core().Exec("INSERT INTO authz_role_patterns VALUES (?, ?, ?, ?)", Admin, "x", true, r.Now()).Error)
		r.ok(r.CreateRole(ctx, "other", ""))
		require.Equal(t, []RolePattern{{Pattern: "*"}}, r.role(Admin).Patterns)
		require.True(t, r.allows("ada", "blog.post.read"), "whatever somebody wrote into the table")
	})
}

func TestTheLastAdminStays(t *testing.T) {
	t.Parallel()
	ways := map[string]func(context.Context, *replica) error{
		"unassign":        func(ctx context.Context, r *replica) error { return r.Unassign(ctx, Admin, ToUser("ada")) },
		"unassign group":  func(ctx context.Context, r *replica) error { return r.Unassign(ctx, Admin, ToGroup("root")) },
		"remove member":   func(ctx context.Context, r *replica) error { return r.RemoveMembers(ctx, "root", "ada") },
		"delete group":    func(ctx context.Context, r *replica) error { return r.DeleteGroup(ctx, "root") },
		"forget":          func(ctx context.Context, r *replica) error { return r.Forget(ctx, "ada") },
		"sync":            func(ctx context.Context, r *replica) error { return r.SyncExternal(ctx, "ada", "oidc", nil) },
		"disabled":        func(ctx context.Context, r *replica) error { return r.EnsureNotLastAdmin(ctx, "ada") },
		"disabled, in tx": func(ctx context.Context, r *replica) error { return inTx(ctx, r, r.EnsureNotLastAdminTx) },
		"forget, in tx":   func(ctx context.Context, r *replica) error { return inTx(ctx, r, r.ForgetTx) },
	}
	// Who can be made the last admin by a row, and by which of the ways it can be lost.
	direct := func(ctx context.Context, r *replica) error { return r.Assign(ctx, Admin, ToUser("ada")) }
	group := func(ctx context.Context, r *replica) error { return r.Assign(ctx, Admin, ToGroup("root")) }
	oidc := func(ctx context.Context, r *replica) error {
		return r.SyncExternal(ctx, "ada", "oidc", []string{Admin})
	}
	for _, test := range []struct {
		made func(context.Context, *replica) error
		lost string
	}{
		{direct, "unassign|forget|disabled|disabled, in tx|forget, in tx"},
		{group, "unassign group|remove member|delete group|forget|disabled"},
		{oidc, "unassign|sync|forget|disabled, in tx"},
	} {
		onEach(t, func(t *testing.T, start func(Options) *replica) {
			active := func(_ *gorm.DB, users []string) (can []string, err error) {
				for _, user := range users {
					if user != "disabled" {
						can = append(can, user)
					}
				}
				return can, nil
			}
			r, ctx := start(Options{Active: active}), t.Context()
			r.ok(r.CreateGroup(ctx, "root", ""), r.AddMembers(ctx, "root", "ada"), r.Assign(ctx, Admin, ToUser("disabled")),
				test.made(ctx, r))
			for way := range strings.SplitSeq(test.lost, "|") {
				require.ErrorIs(t, ways[way](ctx, r), ErrLastAdmin, way)
				require.True(t, r.allows("ada", "platform.user.create"), way)
			}
			r.ok(r.EnsureNotLastAdmin(ctx, "eve"), r.Unassign(ctx, Admin, ToUser("disabled")), r.Assign(ctx, Admin, ToUser("bob")))
			for way := range strings.SplitSeq(test.lost, "|") {
				require.NoError(t, ways[way](ctx, r), way)
			}
		})
	}
}

// inTx has a func take part in a transaction, as another room's would.
func inTx(ctx context.Context, r *replica, part func(*gorm.DB, string) error) error {
	err := r.store.Core().WithContext(ctx).Transaction(func(tx *gorm.DB) error { return part(tx, "ada") })
	return errors.Join(err, r.Refresh(ctx))
}

// Two admins who remove each other at the same moment: one of them must fail.
func TestAdminsDoNotRemoveEachOther(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		one, other, ctx := start(Options{}), start(Options{}), t.Context()
		for range 10 {
			one.ok(one.Assign(ctx, Admin, ToUser("ada"), ToUser("bob")))
			var all sync.WaitGroup
			var errs [2]error
			all.Go(func() { errs[0] = one.Unassign(ctx, Admin, ToUser("ada")) })
			all.Go(func() { errs[1] = other.Unassign(ctx, Admin, ToUser("bob")) })
			all.Wait()
			require.ErrorIs(t, errors.Join(errs[:]...), ErrLastAdmin)
			require.True(t, errs[0] == nil || errs[1] == nil)
		}
	})
}

func TestAssignInsideAnotherTransaction(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, ctx := start(Options{}), t.Context()
		assign := func(tx *gorm.DB, user string) error { return r.AssignTx(tx, Admin, ToUser(user)) }
		r.ok(inTx(ctx, r, assign))
		require.True(t, r.allows("ada", "blog.post.read"))
		undone := errors.New("undone")
		require.ErrorIs(t, r.store.Core().Transaction(func(tx *gorm.DB) error {
			return errors.Join(assign(tx, "bob"), undone)
		}), undone)
		r.ok(r.Refresh(ctx))
		require.Empty(t, r.holds("bob"))
	})
}

func TestForget(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, ctx := start(Options{}), t.Context()
		r.ok(r.CreateGroup(ctx, "staff", ""), r.AddMembers(ctx, "staff", "ada", "bob"), r.Assign(ctx, "author", ToGroup("staff")),
			r.Assign(ctx, "member", ToUser("ada"), ToUser("bob")), r.SyncExternal(ctx, "ada", "oidc", []string{"author"}),
			r.Forget(ctx, "ada"))
		require.Empty(t, r.holds("ada"))
		require.NotEmpty(t, r.holds("bob"))
		left := 0
		require.NoError(t, r.store.Core().Raw("SELECT (SELECT count(*) FROM authz_members WHERE user_id = 'ada') + "+
			"(SELECT count(*) FROM authz_assignments WHERE subject = 'ada')").Scan(&left).Error)
		require.Zero(t, left)
	})
}

func TestSyncExternal(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, ctx := start(Options{}), t.Context()
		r.ok(r.Assign(ctx, "member", ToUser("ada")),
			r.SyncExternal(ctx, "ada", "one", []string{"member", "author", "nosuch", "author"}),
			r.SyncExternal(ctx, "ada", "two", []string{"author"}))
		of, err := r.AssignmentsOf(ctx, ToUser("ada"))
		require.NoError(t, err)
		ada := ToUser("ada")
		require.Equal(t, []Assignment{
			{"author", ada, "one"}, {"author", ada, "two"}, {"member", ada, ""}, {"member", ada, "one"},
		}, of)
		require.Equal(t, 1, r.role("author").Users, "one user, however many say so")

		before := r.view.Load().index
		r.ok(r.SyncExternal(ctx, "ada", "one", []string{"author", "member"}))
		require.Same(t, before, r.view.Load().index, "nothing new, nothing written")
		r.ok(r.SyncExternal(ctx, "ada", "one", nil))
		require.True(t, r.allows("ada", "blog.post.create"), "the other source says so")
		require.True(t, r.allows("ada", "blog.comment.read"), "the operator says so")
		r.ok(r.SyncExternal(ctx, "ada", "two", nil))
		require.False(t, r.allows("ada", "blog.post.create"))
		to, err := r.AssignmentsTo(ctx, "member")
		require.NoError(t, err)
		require.Equal(t, []Assignment{{"member", ada, ""}}, to)
	})
}

func TestWhatIsNotThere(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, ctx := start(Options{}), t.Context()
		r.ok(r.CreateRole(ctx, "editor", ""), r.CreateGroup(ctx, "staff", ""))
		for near, err := range map[string]error{
			"editor": r.Grant(ctx, "editro", "blog.*"), "author": r.Assign(ctx, "auhtor", ToUser("ada")),
			"staff": r.Assign(ctx, "editor", ToGroup("stuff")), "member": r.Unassign(ctx, "members", ToUser("ada")),
			"editor|delete": r.DeleteRole(ctx, "editors"), "staff|delete": r.DeleteGroup(ctx, "staf"),
			"staff|add": r.AddMembers(ctx, "Staff", "ada"), "staff|remove": r.RemoveMembers(ctx, "staf", "ada"),
			"editor|revoke": r.Revoke(ctx, "editer", "blog.*"),
		} {
			var missing *NotFoundError
			require.ErrorAs(t, err, &missing, near)
			require.Equal(t, strings.Split(near, "|")[0], missing.Near[0])
			require.ErrorContains(t, err, "fix: ")
		}
		_, err := r.Members(ctx, "staf")
		require.ErrorContains(t, err, "staff")
		require.ErrorContains(t, r.DeleteRole(ctx, "member"), "part of the manifest of blog")
		var exists *ExistsError
		require.ErrorAs(t, r.CreateRole(ctx, "editor", ""), &exists)
		require.ErrorAs(t, r.CreateGroup(ctx, "staff", ""), &exists)
		var unknown *UnknownError
		require.ErrorAs(t, r.Grant(ctx, "editor", "blog.post.raed"), &unknown)
		require.Equal(t, "blog.post.read", unknown.Near[0])
	})
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, ctx := start(Options{}), t.Context()
		r.ok(r.CreateGroup(ctx, "staff", ""))
		before := r.view.Load().index
		var patternError *PatternError
		require.ErrorAs(t, r.Grant(ctx, "member", "*.read"), &patternError)
		require.ErrorAs(t, r.Revoke(ctx, "member", "'; DROP TABLE x"), &patternError)
		for i, err := range []error{
			r.CreateRole(ctx, "", ""), r.CreateRole(ctx, "Upper", ""), r.CreateRole(ctx, "a b", ""),
			r.CreateRole(ctx, strings.Repeat("a", 64), ""), r.CreateRole(ctx, "x", "a\x1b[31m"),
			r.CreateRole(ctx, "x", strings.Repeat("a", 201)),
			r.CreateGroup(ctx, "1", ""), r.CreateGroup(ctx, "g", "a\nb"), r.AddMembers(ctx, "staff", ""),
			r.AddMembers(ctx, "staff", "a\x00"), r.AddMembers(ctx, "staff", strings.Repeat("a", 201)),
			r.AddMembers(ctx, "staff", make([]string, 10_001)...), r.RemoveMembers(ctx, "staff", ""),
			r.Assign(ctx, "member", ToUser("")), r.Assign(ctx, "member", ToGroup("")), r.Assign(ctx, "member", Subject{"robot", "x"}),
			r.Assign(ctx, "", ToUser("a")), r.Assign(ctx, "member", make([]Subject, 10_001)...), r.Unassign(ctx, "member", ToUser("")),
			r.AssignTx(r.store.Core(), "member", Subject{}), r.SyncExternal(ctx, "", "oidc", nil), r.SyncExternal(ctx, "a", "", nil),
			r.SyncExternal(ctx, "a", "oidc", make([]string, 10_001)), r.Grant(ctx, "No", "blog.*"), r.Revoke(ctx, "No", "blog.*"),
		} {
			var refusal *problem.Problem
			require.ErrorAs(t, err, &refusal, "%d", i)
			require.Equal(t, 400, refusal.Status)
			require.Contains(t, refusal.Detail, "fix: ")
			require.NotContains(t, refusal.Detail, "\x1b")
		}
		require.Same(t, before, r.view.Load().index, "nothing has changed")
	})
}

func TestPlatformPermissions(t *testing.T) {
	t.Parallel()
	all := PlatformPermissions()
	require.Len(t, all, 26)
	require.NoError(t, NewRegistry().Set(PlatformModule, all))
	for _, p := range all {
		require.NotEmpty(t, p.Description)
		require.Empty(t, p.Roles)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, ctx := start(Options{}), t.Context()
		r.ok(r.CreateRole(ctx, "editor", ""), r.Grant(ctx, "editor", "blog.*", "blog.post.*"), r.CreateGroup(ctx, "staff", ""),
			r.AddMembers(ctx, "staff", "ada", "bob"), r.Assign(ctx, "editor", ToGroup("staff")), r.Assign(ctx, "member", ToUser("ada")))
		for question, want := range map[string]string{
			"ada blog.post.read":    "allowed: the role member has blog.post.read, by the manifest of the module blog",
			"ada blog.post.delete":  "allowed: the role editor has blog.post.*, and belongs to the group staff",
			"bob blog.comment.read": "allowed: the role editor has blog.*, and belongs to the group staff",
			"eve blog.post.create": "denied: eve has no role that allows blog.post.create " +
				"(fix: `platformd role assign ROLE eve` with one of: author, editor, admin)",
			"ada platform.key.rotate": "denied: ada has no role that allows platform.key.rotate " +
				"(fix: `platformd role assign ROLE ada` with one of: admin)",
			"ada shop.cart.read": "denied: no module has a permission \"shop.cart.read\" (fix: `platformd permission ls` lists them)",
		} {
			user, permission, _ := strings.Cut(question, " ")
			decision, err := r.Explain(user, permission)
			require.NoError(t, err)
			require.Equal(t, want, decision.String())
			require.Equal(t, r.allows(user, permission), decision.Allowed)
		}
	})
}

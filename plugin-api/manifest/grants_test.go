package manifest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/manifest"
)

func TestGrants(t *testing.T) {
	t.Parallel()
	none := parse(t, head)
	all := parse(t, head+
		"grants: {auth: [validate], identity: [read], authz: [check], audit: [write], cache: 16MiB, database: true}\n")
	require.Equal(t, manifest.Size(16<<20), all.Grants.Cache)
	for key, access := range map[string]string{
		"auth": "validate", "identity": "read", "authz": "check", "audit": "write", "cache": "", "database": "",
	} {
		require.True(t, all.Grants.Holds(key, access), key)
		require.False(t, none.Grants.Holds(key, access), key)
		require.False(t, all.Grants.Holds(key, "other"), key)
	}
	for key, access := range map[string]string{"auth": "", "": "", "mail": "send", "grants": "read"} {
		require.False(t, all.Grants.Holds(key, access), key)
	}
}

func TestServices(t *testing.T) {
	t.Parallel()
	m := parse(t, head+"requires: {optional: {billing: \"*\"}}\nservices:\n  provides: [platformd.blog.v1.PostService]\n"+
		"  consumes: [b.B/One, a.A, b.B/Two]\n")
	require.Equal(t, []string{"a.A", "b.B"}, m.Services.Consumed())
	for call, allowed := range map[[2]string]bool{
		{"a.A", "Any"}: true, {"b.B", "One"}: true, {"b.B", "Two"}: true, {"b.B", "Three"}: false, {"b.B", ""}: false,
		{"a.AA", "Any"}: false, {"platformd.blog.v1.PostService", "Any"}: false,
	} {
		require.Equal(t, allowed, m.Services.MayCall(call[0], call[1]), call)
	}
	require.True(t, m.DependsOn("billing"))
	require.False(t, m.DependsOn("notify"))
}

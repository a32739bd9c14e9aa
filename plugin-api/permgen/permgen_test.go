package permgen_test

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/permgen"
)

func declare(permissions ...manifest.Permission) *manifest.Manifest {
	return &manifest.Manifest{Name: "shop", Permissions: permissions}
}

func TestConstants(t *testing.T) {
	t.Parallel()
	source, err := permgen.Generate(declare(
		manifest.Permission{Name: "shop.order.read", Description: "See orders", Roles: []string{"member", "clerk"}},
		manifest.Permission{Name: "shop.line_item.mark_down", Description: "Lower a price.\nOf one line only.\r*/ \u2028 // x"},
		manifest.Permission{Name: "shop.a_b.c", Description: "One"},
		manifest.Permission{Name: "shop.a.b_c", Description: "Other"},
		manifest.Permission{Name: "shop.x2__y_.z", Description: "Odd"},
	))
	require.NoError(t, err)
	want, err := os.ReadFile("testdata/perm.go.golden")
	require.NoError(t, err)
	require.Equal(t, string(want), string(source))
	_, err = parser.ParseFile(token.NewFileSet(), "perm.go", source, parser.AllErrors)
	require.NoError(t, err)
}

func TestWhatHasNoConstants(t *testing.T) {
	t.Parallel()
	_, err := permgen.Generate(declare())
	require.ErrorContains(t, err, "shop declares no permissions (fix: ")
	_, err = permgen.Generate(declare(
		manifest.Permission{Name: "shop.a_b.c", Description: "One"}, manifest.Permission{Name: "shop.a__b.c", Description: "Other"},
	))
	require.ErrorContains(t, err, "shop.a_b.c and shop.a__b.c would both be the constant AB_C (fix: ")
}

// lay writes sources into a folder; name → text.
func lay(t *testing.T, sources map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range sources {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return dir
}

func TestUndeclaredChecksAreFound(t *testing.T) {
	t.Parallel()
	m := declare(manifest.Permission{Name: "shop.order.read", Description: "See orders"})
	dir := lay(t, map[string]string{
		"main.go": "package main\n\nfunc f() {\n\tcore.Authz.Require(ctx, \"shop.order.read\")\n" +
			"\tcore.Authz.Require(ctx, \"shop.order.reed\")\n}\n",
		"sub/more.go": "package sub\n\nvar x = a.BatchCheck(ctx, []string{`shop.order.read`, `shop.cart.empty`}) || " +
			"a.Check(c, \"other.thing.do\")\n",
		"events.go":     "package main\n\nvar y = events.Publish(\"shop.order.created\")\n", // not a check
		"testdata/z.go": "package broken(",
		".hidden/z.go":  "package broken(",
		"notes.txt":     "Check(\"shop.no.go\")",
	})
	err := permgen.Undeclared(dir, m)
	require.ErrorContains(t, err, filepath.Join(dir, "main.go")+":5:26: shop.order.reed")
	require.ErrorContains(t, err, filepath.Join(dir, "sub/more.go")+":3:55: shop.cart.empty")
	require.Equal(t, 2, strings.Count(err.Error(), "\n  "), err)
	require.ErrorContains(t, err, "(fix: ")

	require.NoError(t, permgen.Undeclared(lay(t, nil), m))
	require.ErrorContains(t, permgen.Undeclared(lay(t, map[string]string{"a.go": "package ("}), m), "a.go:1:9")
	require.Error(t, permgen.Undeclared(filepath.Join(dir, "absent"), m))
}

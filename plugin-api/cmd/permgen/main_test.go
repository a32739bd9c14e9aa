package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const shop = `apiVersion: platformd/v1
name: shop
version: 0.1.0
permissions:
  - { name: shop.order.read, description: See orders }
`

func folder(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "module.yaml"), []byte(text), 0o644))
	return dir
}

func TestItWritesOnce(t *testing.T) {
	t.Parallel()
	dir, stderr := folder(t, shop), new(strings.Builder)
	require.NoError(t, run([]string{"-dir", dir}, stderr))
	path := filepath.Join(dir, "perm", "perm.go")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(text), `OrderRead = "shop.order.read"`)

	long := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(t, os.Chtimes(path, long, long))
	require.NoError(t, run([]string{"-dir", dir}, stderr))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.True(t, info.ModTime().Equal(long), "it was right already")
	require.Empty(t, stderr)
}

func TestItRefuses(t *testing.T) {
	t.Parallel()
	undeclared := folder(t, shop)
	require.NoError(t, os.WriteFile(filepath.Join(undeclared, "a.go"),
		[]byte("package main\n\nvar _ = x.Check(ctx, \"shop.order.write\")\n"), 0o644))
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no manifest":         {[]string{"-dir", t.TempDir()}, "module.yaml"},
		"a bad one":           {[]string{"-dir", folder(t, "name: shop")}, "apiVersion"},
		"no permissions":      {[]string{"-dir", folder(t, strings.Split(shop, "permissions")[0])}, "declares no permissions"},
		"an undeclared check": {[]string{"-dir", undeclared}, "shop.order.write"},
		"an unknown flag":     {[]string{"-x"}, "not defined: -x"},
		"an argument":         {[]string{"shop"}, `"shop" is not understood`},
		"a target in the way": {[]string{"-dir", folder(t, shop), "-o", "module.yaml/perm.go"}, "module.yaml"},
	} {
		require.ErrorContains(t, run(test.args, new(strings.Builder)), test.want, name)
	}
	require.NoFileExists(t, filepath.Join(undeclared, "perm", "perm.go"))
	require.NoError(t, run([]string{"-h"}, new(strings.Builder)))
}

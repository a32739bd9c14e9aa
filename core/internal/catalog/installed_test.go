package catalog

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/archive"
	"github.com/platformd/platformd/core/internal/store"
)

const asking = `apiVersion: platformd/v1
name: shop
version: 1.0.0
description: Sells.
requires: { optional: { billing: "*" } }
grants: { database: true, cache: 1MiB, identity: [read], audit: [write] }
events:
  publishes: [ { type: shop.sold, version: 1 }, { type: shop.sold, version: 2 } ]
  subscribes: [ { type: billing.plan.changed } ]
services: { consumes: [ billing.v1.Billing/GetPlan ] }
runtime: { env: [TZ] }
`

// shelf has one package in its store, which is chosen with some of what it asks for.
func shelf(t *testing.T, pending ...string) Shelf {
	t.Helper()
	var file bytes.Buffer
	require.NoError(t, archive.Write(t.Context(), &file, []archive.Source{
		{Name: archive.ManifestFile, Content: []byte(asking)},
		{Name: archive.ExecutableName("linux/amd64", "shop"), Content: []byte("#!/bin/sh\n"), Executable: true},
	}))
	s, err := store.Open(t.TempDir())
	require.NoError(t, err)
	staged, err := s.Stage(t.Context(), &file, "linux/amd64")
	require.NoError(t, err)
	tx, err := s.Begin(t.Context(), store.Change{Staged: staged, To: &store.Entry{Grants: []string{}, Pending: pending}})
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	return Shelf{Store: s}
}

func TestWhatIsInstalledIsAModule(t *testing.T) {
	t.Parallel()
	s := shelf(t)
	c, err := Scan(Options{Dir: filepath.Join(t.TempDir(), "none"), Installed: s.Chosen(t.Context())})
	require.NoError(t, err)
	require.Empty(t, c.Problems)
	shop := c.Get("shop")
	require.True(t, shop.Packaged)
	require.NoError(t, shop.Held)
	var grants []string
	for _, ask := range Asks(shop.Manifest) {
		require.NotEmpty(t, ask.Detail)
		grants = append(grants, ask.Grant)
	}
	require.Equal(t, []string{
		"database", "cache 1MiB", "identity.read", "audit.write", "events.publish shop.sold", "events.subscribe billing.plan.changed",
		"call billing.v1.Billing/GetPlan", "env TZ",
	}, grants)
}

// What is not approved of is not in the manifest that the platform goes by.
func TestWhatIsPendingIsWithheld(t *testing.T) {
	t.Parallel()
	all := []string{
		"audit.write", "cache 1MiB", "call billing.v1.Billing/GetPlan", "env TZ", "events.publish shop.sold",
		"events.subscribe billing.plan.changed", "identity.read",
	}
	dir := filepath.Join(t.TempDir(), "none")
	before, err := Scan(Options{Dir: dir, Installed: shelf(t).Chosen(t.Context())})
	require.NoError(t, err)
	c, err := Scan(Options{Dir: dir, Installed: shelf(t, append(all, "not.asked")...).Chosen(t.Context())})
	require.NoError(t, err)
	shop := c.Get("shop")
	require.NoError(t, shop.Held)
	require.Equal(t, all, shop.Pending, "what it does not ask for it does not wait for")
	require.Equal(t, []Ask{{grantDatabase, "tables of its own in the platform's database"}}, Asks(shop.Manifest))
	require.NotEqual(t, before.Get("shop").Revision, shop.Revision)

	c, err = Scan(Options{Dir: dir, Installed: shelf(t, "database").Chosen(t.Context())})
	require.NoError(t, err)
	var held *Error
	require.ErrorAs(t, c.Get("shop").Held, &held)
	require.Equal(t, "grant_pending", held.Code)
}

func TestAFolderAndAPackageOfOneName(t *testing.T) {
	t.Parallel()
	dir, s := t.TempDir(), shelf(t)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "shop", "bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "shop", "module.yaml"), []byte(asking), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "shop", "bin", "shop"), []byte("#!/bin/sh\n"), 0o700))
	installed := s.Chosen(t.Context())
	c, err := Scan(Options{Dir: dir, Installed: installed})
	require.NoError(t, err)
	require.Nil(t, c.Get("shop"), "nobody should wonder which of them runs")
	require.Len(t, c.Problems, 2)
	require.ErrorContains(t, c.Problems[0].Err, "platformd uninstall shop")

	installed[0].Replaces = true
	c, err = Scan(Options{Dir: dir, Installed: installed})
	require.NoError(t, err)
	require.True(t, c.Get("shop").Packaged)

	c, err = Scan(Options{Dir: dir, RequireSigned: true})
	require.NoError(t, err)
	require.ErrorContains(t, c.Problems[0].Err, "modules.requireSigned")
}

func TestWhatMustNotRun(t *testing.T) {
	t.Parallel()
	s := shelf(t)
	file := filepath.Join(s.Store.Dir("shop", "1.0.0"), "bin", "shop")
	require.NoError(t, os.Chmod(file, 0o755))
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/false\n"), 0o755))
	require.NoError(t, os.Chmod(file, 0o555))
	scan := func(s Shelf) error {
		c, err := Scan(Options{Dir: filepath.Join(t.TempDir(), "none"), Installed: s.Chosen(t.Context())})
		require.NoError(t, err)
		require.Len(t, c.Problems, 1)
		return c.Problems[0].Err
	}
	var spoilt *store.Error
	require.ErrorAs(t, scan(s), &spoilt)
	require.Equal(t, "store_spoilt", spoilt.Code)
	why := errors.New("nobody trusts its signer")
	s.Judge = func(string, store.Entry) error { return why }
	require.ErrorIs(t, scan(s), why)
}

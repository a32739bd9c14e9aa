package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/storage"
)

// examined is what the doctor says of a database.
func examined(t *testing.T, database string) (diagnosis, result) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	module := filepath.Join(dir, "modules", "blog")
	require.NoError(t, os.MkdirAll(filepath.Join(module, "bin"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(module, "module.yaml"), []byte("apiVersion: platformd/v1\nname: blog\n"+
		"version: 1.0.0\ngrants: { database: true }\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(module, "bin", "blog"), []byte("#!/bin/sh\n"), 0o700))
	file := filepath.Join(dir, "config.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "server: { listen: '127.0.0.1:0' }\nmodules: { dir: '%s' }\n"+
		"database: %s\n", filepath.Dir(module), database), 0o600))
	r := invoke(t.Context(), "doctor", "-o", "json", "--config", file, "--data-dir", dir)
	return decode[diagnosis](t, r.out), r
}

func TestDoctorLooksAtPostgreSQL(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t, pgtest.CreateRole)
	d, r := examined(t, fmt.Sprintf("{ url: '%s' }", url))
	require.Equal(t, ExitOK, r.code, r.err)
	require.Contains(t, d.check(t, "database").Detail, "may make roles; empty: the first start prepares it")
	require.Contains(t, d.check(t, "database connections").Detail,
		"up to 11 of the server's 197: 8 for platformd, 3 for each process of 1 module")
	require.NotContains(t, r.out+r.err, "password=")

	s, err := storage.Open(t.Context(), storage.Options{DataDir: t.TempDir(), URL: config.SecretURL(url)})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	d, r = examined(t, fmt.Sprintf("{ url: '%s', maxConns: 100, moduleMaxConns: 98 }", url))
	require.Equal(t, ExitOK, r.code, r.err)
	require.Equal(t, checkWarn, d.check(t, "database connections").Result)
	require.Contains(t, d.check(t, "large objects").Fix, "as a superuser: REVOKE EXECUTE")
	require.Equal(t, checkWarn, d.check(t, "other databases").Result)
	require.NotContains(t, d.check(t, "database").Detail, "empty")

	d, r = examined(t, fmt.Sprintf("{ url: '%s', isolation: schema }", url))
	require.Equal(t, ExitOK, r.code, r.err)
	require.Contains(t, d.check(t, "database isolation").Detail, "modules are trusted")
}

func TestDoctorSaysWhyADatabaseCannotBeUsed(t *testing.T) {
	t.Parallel()
	d, r := examined(t, fmt.Sprintf("{ url: '%s' }", cluster.Database(t, pgtest.Plain)))
	require.Equal(t, ExitUnhealthy, r.code)
	require.Contains(t, d.check(t, "database").Detail, "may not create roles")
	require.Contains(t, d.check(t, "database").Fix, "database.isolation: schema")
	d, r = examined(t, "{ url: 'postgres://u:hunter2@127.0.0.1:1/d' }")
	require.Equal(t, ExitUnhealthy, r.code)
	require.Equal(t, checkFail, d.check(t, "database").Result)
	require.Contains(t, d.check(t, "database").Fix, "start the PostgreSQL server")
	require.NotContains(t, r.out+r.err, "hunter2")
}

func TestDoctorSeesWhoMayReadTheFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	s, err := storage.Open(t.Context(), storage.Options{DataDir: dir})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	folder := filepath.Join(dir, "modules", "blog")
	require.NoError(t, os.MkdirAll(folder, 0o700))
	file := filepath.Join(folder, "blog.db")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	d, r := doctor(t, dir, "127.0.0.1:0")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Equal(t, "sqlite, in the data dir", d.check(t, "database").Detail)
	for _, check := range d.Checks {
		require.NotEqual(t, "database files", check.Name)
	}
	require.NoError(t, os.Chmod(file, 0o640))
	d, _ = doctor(t, dir, "127.0.0.1:0")
	require.Equal(t, finding{
		Name: "database files", Result: checkWarn, Fix: "chmod go-rwx " + file,
		Detail: file + " has mode 640: other users can get at it",
	}, d.check(t, "database files"))
}

package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// redisServer is a Redis of the test's own, which can be killed.
type redisServer struct {
	dir     string
	process *exec.Cmd
}

func newRedis(t *testing.T) *redisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		const fix = "redis-server is not there (fix: install Debian's package redis-server)"
		if os.Getenv("PLATFORMD_TEST_SERVICES") == "required" {
			t.Fatal(fix)
		}
		t.Skip(fix)
	}
	dir, err := os.MkdirTemp("", "pdredis") // its path is short enough for a socket
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	r := &redisServer{dir: dir}
	r.start(t)
	t.Cleanup(func() { r.kill(t) })
	return r
}

func (r *redisServer) socket() string { return filepath.Join(r.dir, "s") }

func (r *redisServer) start(t *testing.T) {
	t.Helper()
	r.process = exec.Command("redis-server", "--port", "0", "--save", "", "--appendonly", "no",
		"--unixsocket", r.socket(), "--dir", r.dir)
	require.NoError(t, r.process.Start())
}

// kill is kill -9.
func (r *redisServer) kill(t *testing.T) {
	t.Helper()
	if r.process == nil {
		return
	}
	require.NoError(t, r.process.Process.Kill())
	_ = r.process.Wait() // says that it was killed
	r.process = nil
}

// TestCacheOverRedis: what a module keeps on one daemon, it finds on another. Without Redis it is told so, and goes on.
func TestCacheOverRedis(t *testing.T) {
	t.Parallel()
	source := newDatabase(t) // daemons of one installation share it
	redis := newRedis(t)
	var daemons [2]*platform
	for i := range daemons {
		dir := newDir(t, "clerk")
		databases.Store(dir, source)
		daemons[i] = launch(t, dir, options{env: []string{
			"PLATFORMD_CACHE_URL=unix://" + redis.socket(), "PLATFORMD_DATABASE_MAXCONNS=3", "PLATFORMD_DATABASE_MODULEMAXCONNS=1",
		}})
	}
	here, there := daemons[0], daemons[1]
	for _, p := range daemons {
		p.awaitReady()
		p.pid("clerk")
	}
	const path = "/api/v1/clerk/cache/greeting"
	keep := func(p *platform, value string) answer { return p.do(http.MethodPut, path, "", value) }
	kept := func(p *platform) answer { return p.do(http.MethodGet, path, "", "") }
	require.Equal(t, http.StatusNotFound, kept(there).status)
	here.await("the cache to be there", func() bool { return keep(here, "hello").status == http.StatusNoContent })
	found := kept(there)
	require.Equal(t, http.StatusOK, found.status, found.body)
	require.JSONEq(t, `"hello"`, found.body)
	require.Equal(t, http.StatusNoContent, keep(there, "good-bye").status)
	require.JSONEq(t, `"good-bye"`, kept(here).body)

	redis.kill(t)
	for _, p := range daemons {
		for _, got := range []answer{kept(p), keep(p, "x")} {
			require.Equal(t, http.StatusServiceUnavailable, got.status, got.body)
			require.Contains(t, got.body, `"code":"unavailable"`, "codes.Unavailable, by which a module can tell")
			require.NotContains(t, got.body, redis.dir)
		}
		got := p.do(http.MethodPost, "/api/v1/clerk/sql", "", "SELECT 7")
		require.Equal(t, http.StatusOK, got.status, got.body)
		require.JSONEq(t, `["7"]`, got.body)
		require.Equal(t, "ready", p.module("clerk").State)
	}
	require.Contains(t, here.log.String(), "cache", "the operator is told")

	redis.start(t)
	here.await("the cache to be back", func() bool { return keep(here, "again").status == http.StatusNoContent })
	there.await("the other daemon to see it", func() bool { return kept(there).body == "\"again\"\n" })
}

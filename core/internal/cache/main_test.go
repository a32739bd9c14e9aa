package cache_test

import (
	"context"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/platformd/platformd/core/internal/cache"
	"github.com/platformd/platformd/core/internal/cache/cachetest"
	"github.com/platformd/platformd/core/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, o cache.Options) *cache.Service {
	t.Helper()
	s, err := cache.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// missing skips a test that finds no Redis, or lets it fail.
func missing(t *testing.T, fix string) {
	t.Helper()
	if os.Getenv("PLATFORMD_TEST_SERVICES") == "required" {
		t.Fatal(fix)
	}
	t.Skip(fix)
}

// server is the URL of the machine's Redis.
func server(t *testing.T) string {
	t.Helper()
	address := os.Getenv("PLATFORMD_TEST_REDIS")
	if address == "" {
		missing(t, "set PLATFORMD_TEST_REDIS to the address of a Redis server, HOST:PORT")
	}
	return "redis://" + address
}

// client speaks to Redis past the cache.
func client(t *testing.T, url string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(url)
	require.NoError(t, err)
	c := redis.NewClient(options)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// installation is nobody else's, and nothing is left of it after the test.
func installation(t *testing.T, url string) string {
	t.Helper()
	name := "test" + strings.ToLower(rand.Text())
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		c := client(t, url)
		keys := c.Scan(ctx, 0, "pd:"+name+":*", 1000).Iterator()
		for keys.Next(ctx) {
			require.NoError(t, c.Unlink(ctx, keys.Val()).Err())
		}
		require.NoError(t, keys.Err())
	})
	return name
}

func TestCache(t *testing.T) {
	t.Parallel()
	t.Run("local", func(t *testing.T) {
		t.Parallel()
		cachetest.Run(t, func(t *testing.T) *cache.Service { return open(t, cache.Options{}) })
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		url := server(t)
		cachetest.Run(t, func(t *testing.T) *cache.Service {
			return open(t, cache.Options{URL: config.SecretURL(url), Installation: installation(t, url)})
		})
	})
}

// private is a Redis server of a test's own, on a unix socket.
type private struct {
	dir     string
	process *exec.Cmd
}

func newPrivate(t *testing.T) *private {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		missing(t, "redis-server is not there (fix: install Debian's package redis-server)")
	}
	dir, err := os.MkdirTemp("", "pd-redis-") // its path is short enough for a socket
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	p := &private{dir: dir}
	p.start(t)
	t.Cleanup(func() { p.kill(t) })
	return p
}

func (p *private) url() string { return "unix://" + filepath.Join(p.dir, "s") }

func (p *private) start(t *testing.T) {
	t.Helper()
	p.process = exec.CommandContext(context.WithoutCancel(t.Context()), "redis-server",
		"--port", "0", "--save", "", "--appendonly", "no",
		"--unixsocket", filepath.Join(p.dir, "s"), "--dir", p.dir)
	require.NoError(t, p.process.Start())
	c := client(t, p.url())
	require.Eventually(t, func() bool { return c.Ping(t.Context()).Err() == nil }, 20*time.Second, 10*time.Millisecond)
}

// kill is kill -9.
func (p *private) kill(t *testing.T) {
	t.Helper()
	if p.process == nil {
		return
	}
	require.NoError(t, p.process.Process.Kill())
	_ = p.process.Wait() // says that it was killed
	p.process = nil
}

func (p *private) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	require.NoError(t, p.process.Process.Signal(s))
}

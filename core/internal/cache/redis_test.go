package cache_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/cache"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/plugin-api/problem"
)

const mib = 1 << 20

// log is what the cache says.
type log struct {
	mu  sync.Mutex
	out strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

// fast fails unless every call fails without waiting for a server.
func fast(t *testing.T, c cache.Cache) {
	t.Helper()
	began := time.Now()
	for range 100 {
		_, _, err := c.Get(t.Context(), "k")
		require.ErrorIs(t, err, cache.ErrUnavailable)
	}
	require.Less(t, time.Since(began), 10*time.Second, "a hundred waits are 50 s")
}

// back waits until the cache works.
func back(t *testing.T, c cache.Cache) {
	t.Helper()
	require.Eventually(t, func() bool {
		return c.Set(t.Context(), "k", []byte("v"), 0) == nil
	}, 30*time.Second, 20*time.Millisecond)
}

func TestAnOutage(t *testing.T) {
	t.Parallel()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		server := newPrivate(t)
		var out log
		s := open(t, cache.Options{URL: config.SecretURL(server.url()), Log: hclog.New(&hclog.LoggerOptions{Output: &out})})
		c := s.Module("blog", mib)
		back(t, c)
		require.NotContains(t, out.String(), "cache")

		server.kill(t)
		err := c.Set(t.Context(), "k", nil, 0)
		require.ErrorIs(t, err, cache.ErrUnavailable)
		shown, ok := problem.FromError(err)
		require.True(t, ok)
		require.Equal(t, 503, shown.Status)
		require.NotContains(t, shown.Detail, server.dir, "a client does not learn where it is")
		fast(t, c)
		require.ErrorIs(t, s.Ping(t.Context()), cache.ErrUnavailable)
		require.ErrorIs(t, s.Purge(t.Context(), "blog"), cache.ErrUnavailable)

		server.start(t) // which knows no script any more
		back(t, c)
		require.NoError(t, s.Ping(t.Context()))
		require.Equal(t, 1, strings.Count(out.String(), "does not answer"))
		require.Equal(t, 1, strings.Count(out.String(), "answers again"))
	})
}

func TestAServerThatHangs(t *testing.T) {
	t.Parallel()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		server := newPrivate(t)
		c := open(t, cache.Options{URL: config.SecretURL(server.url())}).Module("blog", mib)
		back(t, c)
		server.signal(t, syscall.SIGSTOP)
		began := time.Now()
		_, _, err := c.Get(t.Context(), "k")
		require.ErrorIs(t, err, cache.ErrUnavailable)
		require.Less(t, time.Since(began), 5*time.Second, "half a second, and what a busy machine adds")
		fast(t, c)
		server.signal(t, syscall.SIGCONT)
		back(t, c)
	})
}

// A server that takes connections and says nothing.
func TestAServerThatIsSilent(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	c := open(t, cache.Options{URL: config.SecretURL("redis://" + listener.Addr().String())}).Module("blog", mib)
	began := time.Now()
	_, _, err = c.Get(t.Context(), "k")
	require.ErrorIs(t, err, cache.ErrUnavailable)
	require.Less(t, time.Since(began), 8*time.Second)
	fast(t, c)
}

// Who waits less than the cache does learns that they did, and nobody else pays for it.
func TestACallerInAHurry(t *testing.T) {
	t.Parallel()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		server := newPrivate(t)
		c := open(t, cache.Options{URL: config.SecretURL(server.url())}).Module("blog", mib)
		back(t, c)
		server.signal(t, syscall.SIGSTOP)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, _, err := c.Get(ctx, "k")
		server.signal(t, syscall.SIGCONT)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, cache.ErrUnavailable)
		require.NoError(t, c.Set(t.Context(), "k", nil, 0), "nobody was kept away")
	})
}

// What the server says is no reason to keep away from it.
func TestAServerThatRefuses(t *testing.T) {
	t.Parallel()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		server := newPrivate(t)
		admin := client(t, server.url())
		c := open(t, cache.Options{URL: config.SecretURL(server.url())}).Module("blog", mib)
		back(t, c)
		require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "1").Err())
		require.ErrorIs(t, c.Set(t.Context(), "other", nil, 0), cache.ErrUnavailable)
		require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "0").Err())
		require.NoError(t, c.Set(t.Context(), "other", nil, 0))
	})
}

// A server that evicts keys by itself may take the books, or values out of them.
func TestBooksThatAreGone(t *testing.T) {
	t.Parallel()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		server := newPrivate(t)
		admin := client(t, server.url())
		const room = 20 * 1134 // of those that count 1,000 bytes, six of a name, and the overhead
		for _, book := range []string{"sizes", "used", "ends", "sizes used", "used ends", "sizes used ends"} {
			require.NoError(t, admin.FlushAll(t.Context()).Err())
			c := open(t, cache.Options{URL: config.SecretURL(server.url()), Installation: "i"}).Module("blog", room)
			write := func() {
				for i := range 50 {
					require.NoError(t, c.Set(t.Context(), fmt.Sprintf("k%05d", i), make([]byte, 1000), 0))
				}
			}
			write()
			for name := range strings.FieldsSeq(book) {
				require.NoError(t, admin.Del(t.Context(), "pd:i:blog:"+name).Err())
			}
			write()
			write()
			keys, err := admin.Keys(t.Context(), "pd:i:blog:v:*").Result()
			require.NoError(t, err)
			require.LessOrEqual(t, len(keys), 20, book)
			require.GreaterOrEqual(t, len(keys), 19, book)
		}
	})
}

func TestEveryKeyEnds(t *testing.T) {
	t.Parallel()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		server := newPrivate(t)
		admin := client(t, server.url())
		c := open(t, cache.Options{URL: config.SecretURL(server.url()), Installation: "a b"}).Module("blog", mib)
		require.NoError(t, c.Set(t.Context(), "k", nil, 0))
		_, err := c.Increment(t.Context(), "n", 1, 0)
		require.NoError(t, err)
		_, err = c.CompareAndSet(t.Context(), "x", cache.Exchange{New: []byte("v")})
		require.NoError(t, err)
		keys, err := admin.Keys(t.Context(), "*").Result()
		require.NoError(t, err)
		require.Len(t, keys, 6)
		for _, key := range keys {
			require.True(t, strings.HasPrefix(key, "pd:a+b:blog:"), key)
			left, err := admin.PTTL(t.Context(), key).Result()
			require.NoError(t, err)
			require.Positive(t, left, key)
			require.LessOrEqual(t, left, cache.MaxTTL+time.Hour, key)
		}
	})
}

// Two replicas share one cache, and its quota.
func TestReplicas(t *testing.T) {
	t.Parallel()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		server := newPrivate(t)
		o := cache.Options{URL: config.SecretURL(server.url()), Installation: "i"}
		a, b := open(t, o).Module("blog", mib), open(t, o).Module("blog", mib)
		other := open(t, cache.Options{URL: o.URL, Installation: "i:blog"}).Module("blog", mib)
		var all sync.WaitGroup
		for _, c := range []cache.Cache{a, b} {
			all.Go(func() {
				for range 200 {
					if _, err := c.Increment(t.Context(), "n", 1, 0); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		value, _, err := a.Get(t.Context(), "n")
		require.NoError(t, err)
		require.Equal(t, "400", string(value))
		_, ok, err := other.Get(t.Context(), "n")
		require.NoError(t, err)
		require.False(t, ok, "another installation's")
	})
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"redis://:hunter2@h:x", "redis://u:hunter2%@h", "http://u:hunter2@h", "hunter2", "redis://u:hunter2@h/x?y=z",
	} {
		_, err := cache.New(cache.Options{URL: config.SecretURL(url)})
		require.ErrorContains(t, err, "(fix: ", url)
		require.NotContains(t, err.Error(), "hunter2")
	}
	s := open(t, cache.Options{URL: "redis://u:hunter2@127.0.0.1:1/3?dial_timeout=1h&read_timeout=1h&max_retries=9"})
	require.Equal(t, "redis at 127.0.0.1:1", s.Name())
	began := time.Now()
	err := s.Ping(t.Context())
	require.ErrorIs(t, err, cache.ErrUnavailable)
	require.NotContains(t, err.Error(), "hunter2")
	require.Less(t, time.Since(began), 10*time.Second)
}

package cachetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/cache"
	"github.com/platformd/platformd/plugin-api/problem"
)

// fill sets n values of 1,000 bytes, each of which counts so many bytes, and their names.
const each = 1000 + 6 + cache.Overhead

func fill(t *testing.T, c cache.Cache, n int) {
	t.Helper()
	for i := range n {
		put(t, c, name(i), strings.Repeat("x", 1000))
	}
}

func name(i int) string { return fmt.Sprintf("k%05d", i) }

// present counts the values that fill has set and that are there.
func present(t *testing.T, c cache.Cache, n int) (count int) {
	t.Helper()
	for i := range n {
		if get(t, c, name(i)) != nil {
			count++
		}
	}
	return count
}

func kept(t *testing.T, s *cache.Service) {
	other := s.Module("other", quota)
	fill(t, other, 100)
	c := s.Module("blog", 50*each)
	fill(t, c, 50)
	require.Equal(t, 50, present(t, c, 50), "as many as there is room for")
	fill(t, c, 200)
	count := present(t, c, 200)
	require.LessOrEqual(t, count, 50)
	require.GreaterOrEqual(t, count, 45, "and not many fewer")
	require.Equal(t, 100, present(t, other, 100), "nobody else's")
}

// newest: what a write has just put there is there, however full it was. Locks and counts rely on that.
func newest(t *testing.T, s *cache.Service) {
	c := s.Module("blog", 50*each)
	fill(t, c, 50)
	for range 5 {
		present(t, c, 50) // in demand, all of them
	}
	for i := range 300 {
		key := fmt.Sprintf("new%04d", i)
		put(t, c, key, strings.Repeat("x", 1000))
		require.NotNil(t, get(t, c, key), key)
		require.EqualValues(t, 1, increment(t, c, key+"n", 1))
		require.EqualValues(t, 2, increment(t, c, key+"n", 1), key)
		done, err := c.CompareAndSet(t.Context(), key+"l", cache.Exchange{New: []byte("held")})
		require.NoError(t, err)
		require.True(t, done)
		done, err = c.CompareAndSet(t.Context(), key+"l", cache.Exchange{New: []byte("held")})
		require.NoError(t, err)
		require.False(t, done, "two hold one lock")
	}
}

func usedStays(t *testing.T, s *cache.Service) {
	c := s.Module("blog", 50*each)
	put(t, c, "hot", "v")
	for i := range 300 {
		require.NotNil(t, get(t, c, "hot"), i)
		put(t, c, name(i), strings.Repeat("x", 1000))
	}
}

func replaced(t *testing.T, s *cache.Service) {
	c := s.Module("blog", 50*each)
	fill(t, c, 48)
	for i := range 100 {
		put(t, c, "a", strings.Repeat("y", i*10))
		increment(t, c, "b", 1)
		require.NoError(t, c.Delete(t.Context(), "b"))
	}
	require.Equal(t, 48, present(t, c, 48))
}

func endedRoom(t *testing.T, s *cache.Service) {
	c := s.Module("blog", 60*each)
	fill(t, c, 30)
	for i := range 28 {
		require.NoError(t, c.Set(t.Context(), fmt.Sprint("short", i), make([]byte, 1000), 50*time.Millisecond))
	}
	require.NoError(t, c.Set(t.Context(), "later", nil, 3*time.Second))
	gone(t, c, "later") // a value may count a little longer than it lives
	for i := range 28 {
		put(t, c, fmt.Sprintf("more%02d", i), strings.Repeat("x", 1000))
	}
	require.Equal(t, 30, present(t, c, 30), "there was room")
}

func smaller(t *testing.T, s *cache.Service) {
	fill(t, s.Module("blog", 100*each), 100)
	c := s.Module("blog", 10*each)
	put(t, c, name(0), strings.Repeat("x", 1000))
	require.LessOrEqual(t, present(t, c, 100), 10)
	require.NotNil(t, get(t, c, name(0)))
	err := s.Module("blog", 100).Set(t.Context(), "k", make([]byte, 100), 0)
	refused(t, err, 413)
	require.Contains(t, err.Error(), "grants.cache")
}

func big(t *testing.T, s *cache.Service) {
	const room = 4 << 20
	c := s.Module("blog", room)
	for i := range 10 {
		value := bytes.Repeat([]byte{byte(i)}, cache.MaxValue)
		require.NoError(t, c.Set(t.Context(), fmt.Sprint("big", i), value, 0))
		require.True(t, bytes.Equal(value, get(t, c, fmt.Sprint("big", i))))
	}
	count := 0
	for i := range 10 {
		if get(t, c, fmt.Sprint("big", i)) != nil {
			count++
		}
	}
	require.Equal(t, 3, count)
	value := bytes.Repeat([]byte{9}, cache.MaxValue)
	done, err := c.CompareAndSet(t.Context(), "big9", cache.Exchange{Old: value, New: []byte("small")})
	require.NoError(t, err)
	require.True(t, done)
}

func purge(t *testing.T, s *cache.Service) {
	c, other := s.Module("blog", quota), s.Module("blogger", quota)
	fill(t, c, 1200)
	increment(t, c, "n", 7)
	fill(t, other, 10)
	used, err := s.Usage(t.Context(), "blog")
	require.NoError(t, err)
	require.NotZero(t, used.Keys)
	require.Greater(t, used.Bytes, used.Keys*cache.Overhead)
	require.NoError(t, s.Purge(t.Context(), "blog"))
	require.Zero(t, present(t, c, 1200))
	used, err = s.Usage(t.Context(), "blog")
	require.NoError(t, err)
	require.Zero(t, used)
	require.EqualValues(t, 1, increment(t, c, "n", 1))
	require.Equal(t, 10, present(t, other, 10))
	require.NoError(t, s.Purge(t.Context(), "absent"))
	fill(t, c, 100)
	require.Equal(t, 100, present(t, c, 100), "a purged module may go on")
}

// refused expects a problem that says what to do.
func refused(t *testing.T, err error, status int) {
	t.Helper()
	var refusal *problem.Problem
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, status, refusal.Status)
	require.Contains(t, refusal.Detail, "(fix: ")
}

func badInput(t *testing.T, s *cache.Service) {
	c := s.Module("blog", quota)
	ctx := t.Context()
	long := strings.Repeat("k", cache.MaxKey+1)
	for _, key := range []string{"", long} {
		_, _, err := c.Get(ctx, key)
		refused(t, err, 400)
		refused(t, c.Set(ctx, key, nil, 0), 400)
		refused(t, c.Delete(ctx, key), 400)
		_, err = c.Increment(ctx, key, 1, 0)
		refused(t, err, 400)
		_, err = c.CompareAndSet(ctx, key, cache.Exchange{})
		refused(t, err, 400)
	}
	for _, ttl := range []time.Duration{-1, -time.Hour, time.Nanosecond, cache.MaxTTL + 1} {
		refused(t, c.Set(ctx, "k", nil, ttl), 400)
		_, err := c.Increment(ctx, "k", 1, ttl)
		refused(t, err, 400)
		_, err = c.CompareAndSet(ctx, "k", cache.Exchange{New: []byte("v"), TTL: ttl})
		refused(t, err, 400)
	}
	large := make([]byte, cache.MaxValue+1)
	refused(t, c.Set(ctx, "k", large, 0), 413)
	_, err := c.CompareAndSet(ctx, "k", cache.Exchange{New: large})
	refused(t, err, 413)
	refused(t, s.Module("none", 0).Set(ctx, "k", nil, 0), 413)
	require.Nil(t, get(t, c, "k"), "nothing of that was done")
}

func many(t *testing.T, s *cache.Service) {
	var all sync.WaitGroup
	for worker := range 8 {
		c := s.Module(fmt.Sprint("module", worker%2), 20*each)
		all.Go(func() {
			for i := range 150 {
				key := name(i % 40)
				err := c.Set(t.Context(), key, make([]byte, 1000), time.Duration(i%3)*10*time.Millisecond)
				_, _, getErr := c.Get(t.Context(), name(i*7%40))
				_, countErr := c.Increment(t.Context(), "n", 1, time.Minute)
				_, swapErr := c.CompareAndSet(t.Context(), name(i%10), cache.Exchange{New: []byte("v")})
				if err := errors.Join(err, getErr, countErr, swapErr, c.Delete(t.Context(), name(i*3%40))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		if err := s.Purge(t.Context(), "module1"); err != nil {
			t.Error(err)
		}
	})
	all.Wait()
	c := s.Module("module0", 20*each)
	fill(t, c, 60)
	count := present(t, c, 60)
	require.LessOrEqual(t, count, 20)
	require.GreaterOrEqual(t, count, 17, "the books are right after all that")
}

func cancelled(t *testing.T, s *cache.Service) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := s.Module("blog", quota)
	require.ErrorIs(t, c.Set(ctx, "k", nil, 0), context.Canceled)
	_, _, err := c.Get(ctx, "k")
	require.ErrorIs(t, err, context.Canceled)
	require.Nil(t, get(t, c, "k"))
}

func closed(t *testing.T, s *cache.Service) {
	c := s.Module("blog", quota)
	put(t, c, "k", "v")
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "twice is once")
	_, _, err := c.Get(t.Context(), "k")
	require.ErrorIs(t, err, cache.ErrClosed)
	require.ErrorIs(t, c.Set(t.Context(), "k", nil, 0), cache.ErrClosed)
	require.ErrorIs(t, s.Module("other", quota).Set(t.Context(), "k", nil, 0), cache.ErrClosed)
	require.ErrorIs(t, s.Purge(t.Context(), "blog"), cache.ErrClosed)
	require.ErrorIs(t, s.Ping(t.Context()), cache.ErrClosed)
}

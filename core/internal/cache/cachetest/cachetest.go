// Package cachetest is what every implementation of the cache must pass.
//
// It is for tests only; it must not be used by the product.
package cachetest

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/cache"
)

// quota is enough for tests that are not about it.
const quota = 16 << 20

// soon bounds the wait for something that takes a moment.
const soon = 20 * time.Second

// New opens an empty cache for the length of the test, and closes it.
type New func(t *testing.T) *cache.Service

// Run tests an implementation.
func Run(t *testing.T, open New) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *cache.Service){
		"what was set is found":         set,
		"bytes of any kind":             anyBytes,
		"slices are copied":             copied,
		"deleted is gone":               deleted,
		"values end in time":            ends,
		"a value's time begins anew":    anew,
		"numbers":                       numbers,
		"what is no number":             noNumbers,
		"numbers overflow":              overflow,
		"a count keeps its time":        countEnds,
		"counts at once":                counts,
		"exchanges":                     exchanges,
		"one of many exchanges":         race,
		"modules are apart":             apart,
		"hostile names":                 hostile,
		"a quota is kept":               kept,
		"the newest stays":              newest,
		"what is used stays":            usedStays,
		"one key does not push out all": replaced,
		"what has ended takes no room":  endedRoom,
		"a smaller quota":               smaller,
		"big values":                    big,
		"purge":                         purge,
		"bad input":                     badInput,
		"many at once":                  many,
		"a cancelled context":           cancelled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		closed(t, open(t))
	})
}

// get returns a value, or nil.
func get(t *testing.T, c cache.Cache, key string) []byte {
	t.Helper()
	value, ok, err := c.Get(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, ok, value != nil)
	return value
}

func put(t *testing.T, c cache.Cache, key, value string) {
	t.Helper()
	require.NoError(t, c.Set(t.Context(), key, []byte(value), 0))
}

// gone waits for a value to end.
func gone(t *testing.T, c cache.Cache, key string) {
	t.Helper()
	require.Eventually(t, func() bool { return get(t, c, key) == nil }, soon, 5*time.Millisecond)
}

func set(t *testing.T, s *cache.Service) {
	c := s.Module("blog", quota)
	require.NoError(t, s.Ping(t.Context()))
	require.NotEmpty(t, s.Name())
	require.Nil(t, get(t, c, "a"))
	put(t, c, "a", "1")
	require.Equal(t, "1", string(get(t, c, "a")))
	put(t, c, "a", "2")
	require.Equal(t, "2", string(get(t, s.Module("blog", quota), "a")), "a module has one cache")
}

func anyBytes(t *testing.T, s *cache.Service) {
	c := s.Module("blog", quota)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, key := range []string{" ", "\x00", "\xff\xfe", "é", string(all), strings.Repeat("k", cache.MaxKey)} {
		for _, value := range []string{"", "\x00", string(all)} {
			put(t, c, key, value)
			require.Equal(t, []byte(value), get(t, c, key))
		}
	}
}

func copied(t *testing.T, s *cache.Service) {
	c := s.Module("blog", quota)
	value := []byte("abc")
	require.NoError(t, c.Set(t.Context(), "k", value, 0))
	value[0] = 'x'
	get(t, c, "k")[1] = 'x'
	require.Equal(t, "abc", string(get(t, c, "k")))
}

func deleted(t *testing.T, s *cache.Service) {
	c := s.Module("blog", quota)
	require.NoError(t, c.Delete(t.Context(), "absent"))
	put(t, c, "k", "v")
	put(t, c, "other", "v")
	require.NoError(t, c.Delete(t.Context(), "k"))
	require.Nil(t, get(t, c, "k"))
	require.NotNil(t, get(t, c, "other"))
}

func ends(t *testing.T, s *cache.Service) {
	c := s.Module("blog", quota)
	began := time.Now()
	const ttl = 300 * time.Millisecond
	require.NoError(t, c.Set(t.Context(), "k", []byte("v"), ttl))
	require.NoError(t, c.Set(t.Context(), "long", []byte("v"), cache.MaxTTL))
	put(t, c, "ever", "v")
	gone(t, c, "k")
	require.GreaterOrEqual(t, time.Since(began), ttl-time.Millisecond)
	require.NotNil(t, get(t, c, "ever"))
	require.NotNil(t, get(t, c, "long"))
	done, err := c.CompareAndSet(t.Context(), "k", cache.Exchange{New: []byte("again")})
	require.NoError(t, err)
	require.True(t, done, "what has ended is not there")
}

func anew(t *testing.T, s *cache.Service) {
	c := s.Module("blog", quota)
	require.NoError(t, c.Set(t.Context(), "k", []byte("1"), 100*time.Millisecond))
	require.NoError(t, c.Set(t.Context(), "probe", []byte("1"), 200*time.Millisecond))
	put(t, c, "k", "2")
	gone(t, c, "probe")
	require.Equal(t, "2", string(get(t, c, "k")))
	require.NoError(t, c.Set(t.Context(), "k", []byte("3"), 20*time.Millisecond))
	gone(t, c, "k")
}

func increment(t *testing.T, c cache.Cache, key string, delta int64) int64 {
	t.Helper()
	sum, err := c.Increment(t.Context(), key, delta, 0)
	require.NoError(t, err)
	return sum
}

func numbers(t *testing.T, s *cache.Service) {
	c := s.Module("blog", quota)
	require.EqualValues(t, 5, increment(t, c, "n", 5))
	require.EqualValues(t, 3, increment(t, c, "n", -2))
	require.EqualValues(t, 3, increment(t, c, "n", 0))
	require.Equal(t, "3", string(get(t, c, "n")))
	require.EqualValues(t, 0, increment(t, c, "zero", 0))
	require.Equal(t, "0", string(get(t, c, "zero")))
	put(t, c, "n", "-41")
	require.EqualValues(t, -40, increment(t, c, "n", 1))
	const exact = 1<<53 + 1 // more than a float can tell apart
	require.EqualValues(t, exact, increment(t, c, "exact", exact))
	require.EqualValues(t, exact+1, increment(t, c, "exact", 1))
	require.EqualValues(t, math.MaxInt64, increment(t, c, "max", math.MaxInt64))
	require.EqualValues(t, math.MinInt64, increment(t, c, "min", math.MinInt64))
}

func noNumbers(t *testing.T, s *cache.Service) {
	c := s.Module("blog", quota)
	for _, text := range []string{
		"", "x", " 1", "1 ", "1\n", "+1", "01", "-0", "1.0", "0x1", "1e3", "9223372036854775808", "١", "1\x00",
	} {
		put(t, c, "k", text)
		_, err := c.Increment(t.Context(), "k", 1, 0)
		require.ErrorIs(t, err, cache.ErrNotNumber, "%q", text)
		require.Equal(t, text, string(get(t, c, "k")), "it stays as it was")
	}
	require.ErrorContains(t, cache.ErrNotNumber, "(fix: ")
}

func overflow(t *testing.T, s *cache.Service) {
	c := s.Module("blog", quota)
	for _, test := range []struct{ start, delta int64 }{
		{math.MaxInt64, 1}, {math.MaxInt64, math.MaxInt64}, {math.MinInt64, -1}, {math.MinInt64, math.MinInt64}, {-2, math.MinInt64},
	} {
		put(t, c, "k", fmt.Sprint(test.start))
		_, err := c.Increment(t.Context(), "k", test.delta, 0)
		require.ErrorIs(t, err, cache.ErrOverflow)
		require.Equal(t, fmt.Sprint(test.start), string(get(t, c, "k")))
	}
	put(t, c, "k", fmt.Sprint(math.MinInt64))
	require.EqualValues(t, -1, increment(t, c, "k", math.MaxInt64), "as near to it as can be")
}

func countEnds(t *testing.T, s *cache.Service) {
	c := s.Module("blog", quota)
	began := time.Now()
	var last int64
	require.Eventually(t, func() bool {
		sum, err := c.Increment(t.Context(), "n", 1, 300*time.Millisecond)
		require.NoError(t, err)
		anew := sum < last
		last = sum
		return anew
	}, soon, 5*time.Millisecond, "or a limit on requests would never end")
	require.EqualValues(t, 1, last)
	require.GreaterOrEqual(t, time.Since(began), 290*time.Millisecond)
	require.NoError(t, c.Set(t.Context(), "set", []byte("1"), 50*time.Millisecond))
	increment(t, c, "set", 1)
	gone(t, c, "set")
}

func counts(t *testing.T, s *cache.Service) {
	c := s.Module("blog", quota)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 50 {
				if _, err := c.Increment(t.Context(), "n", 1, 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	require.Equal(t, "800", string(get(t, c, "n")))
}

func exchanges(t *testing.T, s *cache.Service) {
	c := s.Module("blog", quota)
	for i, step := range []struct {
		from, to []byte
		done     bool
		left     string
	}{
		{[]byte("a"), []byte("b"), false, ""},
		{[]byte{}, []byte("b"), false, ""}, // an empty value is a value
		{nil, []byte("a"), true, "a"},
		{nil, []byte("b"), false, "a"},
		{[]byte("A"), []byte("b"), false, "a"},
		{[]byte{}, []byte("b"), false, "a"},
		{[]byte("a"), []byte("b"), true, "b"},
		{[]byte("b"), []byte{}, true, ""},
		{[]byte{}, []byte("c\x00"), true, "c\x00"},
		{[]byte("c"), nil, false, "c\x00"},
		{[]byte("c\x00"), nil, true, ""},
		{nil, nil, true, ""},
		{nil, []byte("d"), true, "d"},
	} {
		done, err := c.CompareAndSet(t.Context(), "k", cache.Exchange{Old: step.from, New: step.to})
		require.NoError(t, err)
		require.Equal(t, step.done, done, i)
		require.Equal(t, step.left, string(get(t, c, "k")), i)
	}
	done, err := c.CompareAndSet(t.Context(), "k", cache.Exchange{Old: []byte("d"), New: []byte("e"), TTL: 20 * time.Millisecond})
	require.NoError(t, err)
	require.True(t, done)
	gone(t, c, "k")
}

func race(t *testing.T, s *cache.Service) {
	c := s.Module("blog", quota)
	var from []byte
	for round := range 30 {
		var winners atomic.Int32
		var won atomic.Pointer[[]byte]
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				to := fmt.Appendf(nil, "%d by %d", round, i)
				done, err := c.CompareAndSet(t.Context(), "k", cache.Exchange{Old: from, New: to})
				if err != nil {
					t.Error(err)
				}
				if done {
					winners.Add(1)
					won.Store(&to)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 1, winners.Load())
		from = *won.Load()
		require.Equal(t, from, get(t, c, "k"))
	}
}

func apart(t *testing.T, s *cache.Service) {
	blog, billing := s.Module("blog", quota), s.Module("billing", quota)
	put(t, blog, "k", "blog's")
	require.Nil(t, get(t, billing, "k"))
	put(t, billing, "k", "billing's")
	require.NoError(t, billing.Delete(t.Context(), "k"))
	require.Equal(t, "blog's", string(get(t, blog, "k")))
}

// hostile tries to reach another module's values, or the books that are kept beside them.
func hostile(t *testing.T, s *cache.Service) {
	names := []string{"a", "a:", "a:b", "a:v", "*", "a*", "a\n", "a\x00", "[a-z]", "A", "a%3A", "é", "", "a:b:c", "?"}
	keys := []string{":", "b:k", "*", "\n", "\x00", "k", "v:k", "b:v:k", "sizes", "used", "ends", "..", "[a-z]", "%3A", "{a}"}
	for _, name := range names {
		for _, key := range keys {
			put(t, s.Module(name, quota), key, name+"\xff"+key)
		}
	}
	check := func(name string) {
		for _, key := range keys {
			require.Equal(t, name+"\xff"+key, string(get(t, s.Module(name, quota), key)), "%q %q", name, key)
		}
	}
	for _, name := range names {
		check(name)
	}
	for i, name := range names {
		require.NoError(t, s.Purge(t.Context(), name))
		for _, key := range keys {
			require.Nil(t, get(t, s.Module(name, quota), key))
		}
		for _, other := range names[i+1:] {
			check(other)
		}
	}
}

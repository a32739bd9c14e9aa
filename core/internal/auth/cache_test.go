package auth

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func hashOf(i int) digest { return sha256.Sum256([]byte(fmt.Sprint(i))) }

func entryOf(id string) entry {
	return entry{identity: Identity{Session: id}, until: start.Add(time.Hour)}
}

func TestCacheForgets(t *testing.T) {
	t.Parallel()
	c := newCache()
	c.put(hashOf(1), entryOf("a"), c.revocations())
	c.put(hashOf(2), entryOf("b"), c.revocations())
	c.forgetSession("a")
	_, ok := c.get(hashOf(1), start)
	require.False(t, ok)
	_, ok = c.get(hashOf(2), start)
	require.True(t, ok)
	_, ok = c.get(hashOf(2), start.Add(time.Hour))
	require.False(t, ok)
}

// The answer of a query that ran before a revocation must not be kept after it.
func TestCacheRefusesAStaleAnswer(t *testing.T) {
	t.Parallel()
	c := newCache()
	seen := c.revocations()
	c.forgetSession("a") // while the query was on its way back
	c.put(hashOf(1), entryOf("a"), seen)
	_, ok := c.get(hashOf(1), start)
	require.False(t, ok)
	c.put(hashOf(1), entryOf("a"), c.revocations())
	_, ok = c.get(hashOf(1), start)
	require.True(t, ok)
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newCache()
	for i := range 2 * cacheSize {
		c.put(hashOf(i), entryOf("a"), 0)
		c.put(hashOf(i), entryOf("a"), 0)
	}
	require.Len(t, c.entries, cacheSize)
	_, ok := c.get(hashOf(2*cacheSize-1), start)
	require.True(t, ok, "the newest is in it")
}

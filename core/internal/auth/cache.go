package auth

import (
	"sync"
	"time"
)

const (
	// cacheTime bounds how long a replica goes on to accept a token that another one revoked.
	cacheTime = 30 * time.Second
	// cacheSize bounds the memory: only valid tokens are kept, and few installations have so many in use at a time.
	cacheSize = 4096
)

// cache remembers valid tokens by the hash of their secret. It is safe for concurrent use.
type cache struct {
	mu      sync.RWMutex
	entries map[digest]entry
	revoked uint64 // how often forget was called
}

type entry struct {
	identity Identity
	until    time.Time
}

func newCache() *cache { return &cache{entries: make(map[digest]entry)} }

func (c *cache) get(hash digest, now time.Time) (Identity, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	found, ok := c.entries[hash]
	if !ok || !now.Before(found.until) {
		return Identity{}, false
	}
	return found.identity, true
}

// revocations is what put wants to see from before the query whose answer it is given.
func (c *cache) revocations() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.revoked
}

// put keeps e, unless a token was revoked since seen was taken: e may be that token, read just before.
func (c *cache) put(hash digest, e entry, seen uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.revoked != seen {
		return
	}
	if _, replaces := c.entries[hash]; !replaces && len(c.entries) >= cacheSize {
		c.evict()
	}
	c.entries[hash] = e
}

// evict drops any one: Go's map order is as good as random, and a wrong choice costs one query.
func (c *cache) evict() {
	for hash := range c.entries {
		delete(c.entries, hash)
		return
	}
}

// forget drops the token with this id.
func (c *cache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoked++
	for hash, e := range c.entries {
		if e.identity.Principal.ID == id {
			delete(c.entries, hash)
		}
	}
}

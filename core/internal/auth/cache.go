package auth

import (
	"sync"
	"time"
)

const (
	// cacheTime bounds how long a replica goes on to accept a credential that another one ended.
	cacheTime = 30 * time.Second
	// cacheSize bounds the memory: only valid credentials are kept, and few installations have so many in use at a time.
	cacheSize = 16384
)

// cache remembers valid credentials by the hash of their text. It is safe for concurrent use.
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

// put keeps e, unless something was ended since seen was taken: e may be just that, read just before.
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

// forget drops the credentials that ended means, and every answer that is on its way.
func (c *cache) forget(ended func(*Identity) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoked++
	for hash, e := range c.entries {
		if ended(&e.identity) {
			delete(c.entries, hash)
		}
	}
}

// forgetSession drops the one session or API token.
func (c *cache) forgetSession(id string) {
	c.forget(func(i *Identity) bool { return i.Session == id })
}

package cache

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/platformd/platformd/plugin-api/problem"
)

// digits is how long a number can be.
const digits = 20

// nothing is the size of a value that is not kept.
const nothing = -1

// guarded checks what is asked of a module's cache.
type guarded struct {
	service *Service
	quota   int64
	next    Cache
}

// Get implements Cache.
func (g *guarded) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if err := g.check(ctx, key, nothing, 0); err != nil {
		return nil, false, err
	}
	return g.next.Get(ctx, key)
}

// Set implements Cache.
func (g *guarded) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := g.check(ctx, key, len(value), ttl); err != nil {
		return err
	}
	return g.next.Set(ctx, key, value, lifetime(ttl))
}

// Delete implements Cache.
func (g *guarded) Delete(ctx context.Context, key string) error {
	if err := g.check(ctx, key, nothing, 0); err != nil {
		return err
	}
	return g.next.Delete(ctx, key)
}

// Increment implements Cache.
func (g *guarded) Increment(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	if err := g.check(ctx, key, digits, ttl); err != nil {
		return 0, err
	}
	return g.next.Increment(ctx, key, delta, lifetime(ttl))
}

// CompareAndSet implements Cache.
func (g *guarded) CompareAndSet(ctx context.Context, key string, x Exchange) (bool, error) {
	size := nothing
	if x.New != nil {
		size = len(x.New)
	}
	if err := g.check(ctx, key, size, x.TTL); err != nil {
		return false, err
	}
	x.TTL = lifetime(x.TTL)
	return g.next.CompareAndSet(ctx, key, x)
}

// check refuses what does not fit; size is that of the value that would be kept.
func (g *guarded) check(ctx context.Context, key string, size int, ttl time.Duration) error {
	switch {
	case g.service.closed.Load():
		return ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	case key == "" || len(key) > MaxKey:
		return problem.Invalid("a key of the cache has 1 to %d bytes, not %d (fix: use a shorter one, such as a hash)",
			MaxKey, len(key))
	case size > MaxValue:
		return problem.New(http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf(
			"a value in the cache has at most %d bytes, not %d (fix: keep it in the database, or in parts)", MaxValue, size))
	case ttl < 0 || ttl > MaxTTL || ttl > 0 && ttl < time.Millisecond:
		return problem.Invalid("a ttl is 0, or 1 ms to %d days (fix: choose one of these; 0 keeps a value as long as there is room)",
			MaxTTL/(24*time.Hour))
	case size != nothing && weight(key, size) > g.quota:
		return problem.New(http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf(
			"the value is larger than all that the module may cache, %d bytes (fix: raise grants.cache in module.yaml)", g.quota))
	}
	return nil
}

// lifetime is how long a value is really kept. Redis counts in milliseconds.
func lifetime(ttl time.Duration) time.Duration {
	if ttl == 0 {
		return MaxTTL
	}
	return ttl.Truncate(time.Millisecond)
}

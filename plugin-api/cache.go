package pluginapi

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// Cache keeps values that may be lost at any time, for all instances of the module together. It needs grants: { cache: SIZE },
// and is safe for concurrent use. Keys have 1 to 512 bytes, values at most 1 MiB; a ttl of 0 is none.
//
// An error with codes.Unavailable means that the cache is away: go on without it.
type Cache struct{ client corev1.CacheClient }

// Get returns a value; ok is false if it is not there.
func (c *Cache) Get(ctx context.Context, key string) (value []byte, ok bool, err error) {
	answer, err := c.client.Get(ctx, &corev1.GetRequest{Key: key})
	if err != nil {
		return nil, false, fmt.Errorf("get %q from the cache: %w", key, err)
	}
	return answer.GetValue(), answer.GetFound(), nil
}

// Set puts a value in place of what was there.
func (c *Cache) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	_, err := c.client.Set(ctx, &corev1.SetRequest{Key: key, Value: value, Ttl: durationpb.New(ttl)})
	if err != nil {
		return fmt.Errorf("put %q into the cache: %w", key, err)
	}
	return nil
}

// Delete removes a value; one that is not there is no error.
func (c *Cache) Delete(ctx context.Context, key string) error {
	if _, err := c.client.Delete(ctx, &corev1.DeleteRequest{Key: key}); err != nil {
		return fmt.Errorf("delete %q from the cache: %w", key, err)
	}
	return nil
}

// Increment adds to a whole number and returns the sum; one that is not there counts as 0, and only then ttl is set. Errors:
// codes.FailedPrecondition if the value is no number, codes.OutOfRange if the sum does not fit.
func (c *Cache) Increment(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	answer, err := c.client.Increment(ctx, &corev1.IncrementRequest{Key: key, Delta: delta, Ttl: durationpb.New(ttl)})
	if err != nil {
		return 0, fmt.Errorf("increment %q in the cache: %w", key, err)
	}
	return answer.GetValue(), nil
}

// Swap is a change of a value that is known.
type Swap struct {
	Expected []byte // nil: the key must not be there
	Value    []byte
	TTL      time.Duration
}

// CompareAndSet changes a value if it is the expected one, and tells whether it was.
func (c *Cache) CompareAndSet(ctx context.Context, key string, s Swap) (swapped bool, err error) {
	answer, err := c.client.CompareAndSet(ctx, &corev1.CompareAndSetRequest{
		Key: key, Expected: s.Expected, Value: s.Value, Ttl: durationpb.New(s.TTL),
	})
	if err != nil {
		return false, fmt.Errorf("change %q in the cache: %w", key, err)
	}
	return answer.GetSwapped(), nil
}

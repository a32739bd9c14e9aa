// Package cache keeps values for modules: in this process, or in a Redis server that all replicas share. Each module has keys and
// a quota of its own, and cannot see, use up or push out what another one keeps. Both implementations pass the suite cachetest.
//
// A cache may forget: a value that is not found may have been there. What was written last is forgotten last, or nearly so.
//
// Floor 2. It must not know which module may use it, nor what a module keeps (host).
package cache

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/plugin-api/problem"
)

// What fits. An entry counts as its key, its value and Overhead, in bytes, against its module's quota.
const (
	MaxKey   = 512
	MaxValue = 1 << 20
	MaxTTL   = 30 * 24 * time.Hour // also how long a value is kept that has no ttl
	Overhead = 128                 // about what either implementation needs besides
)

// Errors that both implementations return; some wrap the cause. They are *problem.Problem, too, as errors about bad input are.
var (
	// ErrUnavailable means that Redis does not answer. Whether a write was done is not known.
	ErrUnavailable error = problem.New(http.StatusServiceUnavailable, "unavailable",
		"the cache does not answer (fix: go on without, or try again; the operator sees that the server of cache.url runs)")
	// ErrClosed means that the service was closed.
	ErrClosed error = problem.New(http.StatusServiceUnavailable, "unavailable",
		"the cache is closed: platformd is stopping (fix: try again when it is up)")
	// ErrNotNumber means that Increment found something else than a whole number, in decimal, of 64 bits.
	ErrNotNumber error = problem.New(http.StatusPreconditionFailed, "failed_precondition",
		"the value is not a number (fix: increment another key, or delete this one first)")
	// ErrOverflow means that the sum would not fit into 64 bits. The value stays as it was.
	ErrOverflow error = problem.New(http.StatusBadRequest, "out_of_range",
		"the number would not fit into 64 bits (fix: set it anew)")
)

// Cache is what one module keeps. Keys are 1 to 512 bytes, values up to 1 MiB, of any kind. A ttl of 0 keeps a value as long as
// there is room, 30 days at most; another one is at least 1 ms and at most 30 days. Each method is atomic, and safe for
// concurrent use; slices are copied. Bad input is a *problem.Problem; see the errors of this package.
type Cache interface {
	// Get returns a value; ok tells whether there is one. An empty value is not nil.
	Get(ctx context.Context, key string) (value []byte, ok bool, err error)
	// Set keeps a value, whatever was there. It may push out what the module has not used for longest.
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// Delete forgets a value; there need not be one.
	Delete(ctx context.Context, key string) error
	// Increment adds delta, which may be negative, to a number and returns the sum. Where there is none, it is 0 before, and ttl
	// counts from now; one that is there keeps its time to live. Numbers are kept in decimal: Get and Set know them as text.
	Increment(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error)
	// CompareAndSet makes the exchange if the value is what it is expected to be, and tells whether it did.
	CompareAndSet(ctx context.Context, key string, x Exchange) (bool, error)
}

// Exchange is what CompareAndSet does.
type Exchange struct {
	Old []byte // nil: there must be no value
	New []byte // nil: the value is deleted
	TTL time.Duration
}

// Options say where values are kept.
type Options struct {
	// URL is that of a Redis server; empty: this process.
	URL config.SecretURL
	// Installation keeps apart those that share a Redis server; its replicas have the same.
	Installation string
	// Log is told when the server goes away and comes back; nil discards it.
	Log hclog.Logger
}

// store is one implementation, for all modules. Keys and values were checked.
type store interface {
	module(name string, quota int64) Cache
	purge(ctx context.Context, module string) error
	usage(ctx context.Context, module string) (Usage, error)
	ping(ctx context.Context) error
	close() error
	name() string
}

// Service is safe for concurrent use. It must be closed.
type Service struct {
	store  store
	closed atomic.Bool
}

// New returns the service. It connects to nothing yet: platformd starts while its cache is away.
func New(o Options) (*Service, error) {
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	if o.URL == "" {
		return &Service{store: newLocal()}, nil
	}
	shared, err := newShared(o)
	if err != nil {
		return nil, err
	}
	return &Service{store: shared}, nil
}

// Name says where values are kept, for people: "in process", or "redis at HOST:PORT".
func (s *Service) Name() string { return s.store.name() }

// Ping asks whether the cache is there.
func (s *Service) Ping(ctx context.Context) error {
	if s.closed.Load() {
		return ErrClosed
	}
	return s.store.ping(ctx)
}

// Module returns the values of a module, which may take as much room as quota bytes; the quota given last counts. It is cheap
// enough to be called for each use.
func (s *Service) Module(name string, quota int64) Cache {
	return &guarded{service: s, quota: quota, next: s.store.module(name, quota)}
}

// Purge forgets whatever a module keeps. What the module writes meanwhile may stay.
func (s *Service) Purge(ctx context.Context, module string) error {
	if s.closed.Load() {
		return ErrClosed
	}
	return s.store.purge(ctx, module)
}

// Usage is what a module keeps at the moment, as its quota counts it.
type Usage struct{ Keys, Bytes int64 }

// Usage tells how much a module keeps. What has ended a moment ago may count.
func (s *Service) Usage(ctx context.Context, module string) (Usage, error) {
	if s.closed.Load() {
		return Usage{}, ErrClosed
	}
	return s.store.usage(ctx, module)
}

// Close ends the connections to Redis, or forgets all that is in this process. Whatever is called afterwards returns ErrClosed.
func (s *Service) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return s.store.close()
}

// weight is what an entry counts.
func weight(key string, size int) int64 { return int64(len(key) + size + Overhead) }

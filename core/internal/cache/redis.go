package cache

import (
	"context"
	_ "embed" // the script
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// How long a server that does not answer keeps somebody waiting. Once it has not, nobody waits: see breaker.
const (
	dialWait = time.Second
	opWait   = 500 * time.Millisecond
)

// bookTime is how long the books of a module are kept: longer than any value that stands in them.
const bookTime = MaxTTL + time.Hour

// purgePage is how many keys of the server are looked at in one step of a purge, and how many are removed in one.
const purgePage = 500

//go:embed redis.lua
var script string

// shared keeps values in a plain Redis server, of 6.2 or later; a cluster it is not made for.
//
// A module's keys begin with pd:INSTALLATION:MODULE:, where both names are escaped, so that none is the beginning of another's.
// Below it are its values (v:KEY) and its books: what each value counts, when it was last used, and when it ends. One script does
// each operation and keeps the books with it, atomically: before a write it removes what has ended and then, until the quota is
// kept, what was not used for longest, of this module alone. The quota is kept of what the books say: Overhead stands for what
// Redis needs besides keys and values, and values that have ended count until the next write. A server that evicts keys by itself
// (maxmemory-policy allkeys-…) makes the books wrong for a while: a value that is gone counts until it ends or is the oldest; one
// that is in no book any more counts for nothing until it ends, which is why each ends, after 30 days at the latest.
type shared struct {
	client  *redis.Client
	script  *redis.Script
	prefix  string // of the installation
	address string
	breaker *breaker
}

func newShared(o Options) (*shared, error) {
	options, err := redis.ParseURL(o.URL.Reveal())
	if err != nil { // its text may hold a password
		return nil, errors.New("cache.url is not the URL of a Redis server (fix: write redis://USER:PASSWORD@HOST:PORT/0, " +
			"rediss:// for TLS, or unix:///PATH)")
	}
	logging.Disable() // it writes to stderr, past hclog; what it would say, errors say
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = dialWait, opWait, opWait
	options.PoolTimeout, options.ContextTimeoutEnabled = opWait, true
	options.MaxRetries, options.DialerRetries = -1, 1 // what was sent may have been done
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return &shared{
		client: redis.NewClient(options), script: redis.NewScript(script), address: options.Addr,
		prefix: "pd:" + url.QueryEscape(o.Installation) + ":", breaker: &breaker{log: o.Log, now: time.Now},
	}, nil
}

func (s *shared) name() string { return "redis at " + s.address }

func (s *shared) close() error { return s.client.Close() }

func (s *shared) ping(ctx context.Context) error {
	return s.do(ctx, func(ctx context.Context) error { return s.client.Ping(ctx).Err() })
}

// module's name is escaped: it leads into no other module's keys, and is no pattern.
func (s *shared) module(name string, quota int64) Cache {
	return &sharedModule{shared: s, prefix: s.prefix + url.QueryEscape(name) + ":", quota: quota}
}

// purge looks at every key of the server: what is in no book goes, too.
func (s *shared) purge(ctx context.Context, module string) error {
	pattern := s.prefix + url.QueryEscape(module) + ":*"
	for cursor := uint64(0); ; {
		err := s.do(ctx, func(ctx context.Context) (err error) {
			var keys []string
			keys, cursor, err = s.client.Scan(ctx, cursor, pattern, purgePage).Result()
			if err == nil && len(keys) > 0 {
				err = s.client.Unlink(ctx, keys...).Err()
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("forget what module %s cached: %w", module, err)
		}
		if cursor == 0 {
			return nil
		}
	}
}

// usage reads the book in which the sizes stand: under each key, and their sum under the empty one.
func (s *shared) usage(ctx context.Context, module string) (u Usage, err error) {
	book := s.prefix + url.QueryEscape(module) + ":sizes"
	err = s.do(ctx, func(ctx context.Context) error {
		n, err := s.client.HLen(ctx, book).Result()
		if err != nil || n == 0 {
			return err
		}
		u.Keys = n - 1
		u.Bytes, err = s.client.HGet(ctx, book, "").Int64()
		return err
	})
	return u, err
}

// do runs an operation within bounds, if the server seems to be there.
func (s *shared) do(ctx context.Context, operation func(context.Context) error) error {
	if err := s.breaker.allow(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, dialWait+opWait)
	defer cancel()
	err := operation(bounded)
	var answer redis.Error // the server said so: it is there
	switch {
	case err == nil || errors.Is(err, redis.Nil):
		s.breaker.report(nil)
		return err
	case errors.As(err, &answer):
		s.breaker.report(nil)
	case ended(ctx) != nil:
		s.breaker.unknown()
		return ended(ctx)
	case errors.Is(err, redis.ErrClosed):
		s.breaker.unknown()
		return ErrClosed
	default:
		s.breaker.report(err)
	}
	return fmt.Errorf("%w: redis at %s: %w", ErrUnavailable, s.address, err)
}

// ended is ctx's error. A connection's deadline may come a moment before that of the context it was made from.
func ended(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// sharedModule is one module's values.
type sharedModule struct {
	*shared
	prefix string
	quota  int64
}

// run runs an operation of the script.
func (m *sharedModule) run(ctx context.Context, operation, key string, args ...any) (result any, err error) {
	keys := []string{m.prefix + "v:" + key, m.prefix + "sizes", m.prefix + "used", m.prefix + "ends"}
	err = m.do(ctx, func(ctx context.Context) error {
		result, err = m.script.Run(ctx, m.client, keys, append([]any{operation, key}, args...)...).Result()
		return err
	})
	return result, err
}

// write is run for what may put a value there.
func (m *sharedModule) write(ctx context.Context, operation, key string, w written) (any, error) {
	return m.run(ctx, operation, key, append([]any{w.ttl.Milliseconds(), m.quota, Overhead, bookTime.Milliseconds()}, w.args...)...)
}

type written struct {
	ttl  time.Duration
	args []any
}

// Get implements Cache.
func (m *sharedModule) Get(ctx context.Context, key string) ([]byte, bool, error) {
	found, err := m.run(ctx, "get", key)
	if errors.Is(err, redis.Nil) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	text, ok := found.(string)
	return []byte(text), ok, nil
}

// Set implements Cache.
func (m *sharedModule) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	_, err := m.write(ctx, "set", key, written{ttl, []any{value}})
	return err
}

// Delete implements Cache.
func (m *sharedModule) Delete(ctx context.Context, key string) error {
	_, err := m.run(ctx, "delete", key)
	return err
}

// Increment implements Cache.
func (m *sharedModule) Increment(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	result, err := m.write(ctx, "increment", key, written{ttl, []any{delta}})
	if err != nil {
		return 0, err
	}
	switch text := fmt.Sprint(result); text {
	case "overflow":
		return 0, ErrOverflow
	case "not a number":
		return 0, ErrNotNumber
	default:
		return strconv.ParseInt(text, 10, 64)
	}
}

// CompareAndSet implements Cache.
func (m *sharedModule) CompareAndSet(ctx context.Context, key string, x Exchange) (bool, error) {
	args := []any{x.Old != nil, x.Old, x.New != nil, x.New} // true is sent as 1
	for i, arg := range args {
		if data, ok := arg.([]byte); ok && data == nil {
			args[i] = ""
		}
	}
	result, err := m.write(ctx, "exchange", key, written{x.TTL, args})
	return result == int64(1), err
}

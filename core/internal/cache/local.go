package cache

import (
	"bytes"
	"context"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// local keeps values in this process.
type local struct {
	mu      sync.Mutex // guards what follows
	modules map[string]*localModule
	closed  bool
}

func newLocal() *local { return &local{modules: make(map[string]*localModule)} }

func (l *local) name() string { return "in process" }

func (l *local) ping(context.Context) error { return nil }

// module makes none once the service is closed, whom nobody would end; then nobody gets as far as to use it.
func (l *local) module(name string, quota int64) Cache {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	m, ok := l.modules[name]
	if !ok {
		m = newLocalModule()
		l.modules[name] = m
	}
	m.quota.Store(quota)
	return m
}

// purge keeps the module's place: somebody may hold it.
func (l *local) purge(_ context.Context, name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m, ok := l.modules[name]; ok {
		m.clear()
	}
	return nil
}

func (l *local) usage(_ context.Context, name string) (u Usage, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m, ok := l.modules[name]; ok {
		m.values.CleanUp()
		u = Usage{Keys: int64(m.values.EstimatedSize()), Bytes: int64(m.values.WeightedSize())} //nolint:gosec // bounded by a quota
	}
	return u, nil
}

func (l *local) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, m := range l.modules {
		m.clear()
		m.values.StopAllGoroutines()
	}
	return nil
}

// value is what is kept under a key. It is never changed.
type value struct {
	data []byte
	ends time.Time
}

// localModule is one module's values. Otter alone would admit a new key to a full cache only if it was asked for more often than
// what it would push out: of 5,000 keys written to a full cache 1,901 were gone at once, and with them a lock just taken, or a
// count just begun. So otter orders the entries and ends them in time, and whoever writes makes room first: then it refuses
// nobody. What has ended may count for a second or two.
type localModule struct {
	mu     sync.Mutex // whoever writes holds it
	values *otter.Cache[string, value]
	quota  atomic.Int64
}

func newLocalModule() *localModule {
	remaining := func(e otter.Entry[string, value]) time.Duration { return max(time.Until(e.Value.ends), 1) }
	return &localModule{values: otter.Must(&otter.Options[string, value]{
		MaximumWeight:    math.MaxInt64, // see room
		Weigher:          func(key string, v value) uint32 { return uint32(weight(key, len(v.data))) },
		ExpiryCalculator: otter.ExpiryWritingFunc(remaining),
		Executor:         func(work func()) { work() }, // so that sizes are right when a write has returned
	})}
}

// Get implements Cache.
func (m *localModule) Get(_ context.Context, key string) ([]byte, bool, error) {
	found, ok := m.values.GetIfPresent(key)
	if !ok {
		return nil, false, nil
	}
	return append([]byte{}, found.data...), true, nil
}

// Set implements Cache.
func (m *localModule) Set(_ context.Context, key string, data []byte, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(key, data, time.Now().Add(ttl))
	return nil
}

// Delete implements Cache.
func (m *localModule) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values.Invalidate(key)
	return nil
}

// Increment implements Cache.
func (m *localModule) Increment(_ context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, ok := m.values.GetIfPresent(key)
	if !ok {
		found = value{data: []byte("0"), ends: time.Now().Add(ttl)}
	}
	number, err := parse(found.data)
	if err != nil {
		return 0, err
	}
	sum := number + delta
	if (sum > number) != (delta > 0) && delta != 0 {
		return 0, ErrOverflow
	}
	m.put(key, strconv.AppendInt(nil, sum, 10), found.ends)
	return sum, nil
}

// parse reads what strconv writes and, as Redis does, no other spelling of it.
func parse(data []byte) (int64, error) {
	number, err := strconv.ParseInt(string(data), 10, 64)
	if err != nil || strconv.FormatInt(number, 10) != string(data) {
		return 0, ErrNotNumber
	}
	return number, nil
}

// CompareAndSet implements Cache.
func (m *localModule) CompareAndSet(_ context.Context, key string, x Exchange) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, ok := m.values.GetIfPresent(key)
	if ok != (x.Old != nil) || !bytes.Equal(found.data, x.Old) {
		return false, nil
	}
	if x.New == nil {
		m.values.Invalidate(key)
	} else {
		m.put(key, x.New, time.Now().Add(x.TTL))
	}
	return true, nil
}

// put keeps a copy of data, for which it makes room.
func (m *localModule) put(key string, data []byte, ends time.Time) {
	need := weight(key, len(data))
	if old, ok := m.values.GetEntryQuietly(key); ok {
		need -= int64(old.Weight)
	}
	m.room(key, need)
	m.values.Set(key, value{data: append([]byte{}, data...), ends: ends})
}

// room pushes out what otter finds the least worth, and not key, until there are need more bytes.
func (m *localModule) room(key string, need int64) {
	over := int64(m.values.WeightedSize()) + need - m.quota.Load()
	if over <= 0 {
		return
	}
	m.values.CleanUp() // what has ended takes no room
	over = int64(m.values.WeightedSize()) + need - m.quota.Load()
	var out []string // otter is locked while it lists
	for entry := range m.values.Coldest() {
		if over <= 0 {
			break
		}
		if entry.Key != key {
			out = append(out, entry.Key)
			over -= int64(entry.Weight)
		}
	}
	for _, key := range out {
		m.values.Invalidate(key)
	}
}

func (m *localModule) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values.InvalidateAll()
}

package embedded

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/bustest"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/storage"
)

var cluster pgtest.Cluster

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(cluster.Exit)) }

// place is an empty database. Each bus that is opened there is one more daemon's.
type place struct {
	t  testing.TB
	db func() *gorm.DB // a daemon's
	o  Options
}

// onEach runs a test on each backend.
func onEach(t *testing.T, test func(t *testing.T, p *place)) {
	t.Helper()
	for name, place := range places() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, place(t))
		})
	}
}

func places() map[string]func(t testing.TB) *place {
	return map[string]func(t testing.TB) *place{
		"sqlite": func(t testing.TB) *place {
			db := core(t, storage.Options{DataDir: filepath.Join(t.TempDir(), "data")})
			return &place{t: t, db: func() *gorm.DB { return db }, o: Options{hub: &hub{}}}
		},
		"postgresql": func(t testing.TB) *place {
			url := cluster.Database(t, pgtest.CreateRole)
			return &place{t: t, db: func() *gorm.DB {
				return core(t, storage.Options{DataDir: t.TempDir(), URL: config.SecretURL(url), MaxConns: 3})
			}}
		},
	}
}

// core opens the core's database for the length of the test.
func core(t testing.TB, o storage.Options) *gorm.DB {
	t.Helper()
	store, err := storage.Open(context.WithoutCancel(t.Context()), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store.Core()
}

// open is one more daemon's bus, which the test closes.
func (p *place) open() *Bus {
	b, err := New(context.WithoutCancel(p.t.Context()), p.db(), p.o)
	require.NoError(p.t, err)
	return b
}

// daemon is a bus for the length of the test.
func (p *place) daemon() *Bus {
	b := p.open()
	p.t.Cleanup(func() { require.NoError(p.t, b.Close()) })
	return b
}

// die ends a bus as kill -9 does. The lease stays.
func (b *Bus) die() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.kill()
	b.running.Wait()
}

func TestBus(t *testing.T) {
	t.Parallel()
	for name, place := range places() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bustest.Run(t, bustest.Suite{
				Open: func(t testing.TB) func() bus.Bus {
					p := place(t)
					return func() bus.Bus { return p.open() }
				},
				Kill: func(killed bus.Bus) {
					b, ok := killed.(*Bus)
					require.True(t, ok)
					b.die()
					expire(t, b)
				},
			})
		})
	}
}

// expire lets the lease of a bus that died end now, and has the others see it.
func expire(t testing.TB, b *Bus) {
	t.Helper()
	require.NoError(t, b.db.Exec("UPDATE bus_holders SET expires_at = 0 WHERE id = ?", b.holder).Error)
	if b.o.hub == nil {
		return // the others look every few seconds
	}
	b.o.hub.mu.Lock()
	defer b.o.hub.mu.Unlock()
	for other := range b.o.hub.buses {
		other.mu.Lock()
		other.due.sweep = time.Now()
		other.mu.Unlock()
		other.wake()
	}
}

package amqp_test

import (
	"context"
	"crypto/rand"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/amqp"
	"github.com/platformd/platformd/core/internal/bus/bustest"
	"github.com/platformd/platformd/core/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is the URL of the machine's RabbitMQ.
func server(t testing.TB) string {
	t.Helper()
	url := os.Getenv("PLATFORMD_TEST_RABBITMQ")
	if url == "" {
		const fix = "set PLATFORMD_TEST_RABBITMQ to the URL of a RabbitMQ server, amqp://USER:PASSWORD@HOST:PORT/"
		if os.Getenv("PLATFORMD_TEST_SERVICES") == "required" {
			t.Fatal(fix)
		}
		t.Skip(fix)
	}
	return url
}

// place is a name on the broker that is nobody else's, and what daemons there share.
type place struct {
	testing.TB
	url    string
	prefix string
	ledger *ledger
}

// newPlace is one of which nothing is left after the test.
func newPlace(t testing.TB) *place {
	t.Helper()
	p := &place{TB: t, url: server(t), prefix: "test" + strings.ToLower(rand.Text())}
	p.ledger = newLedger()
	t.Cleanup(func() {
		ch := p.raw()
		for _, queue := range amqp.Queues(p.prefix, p.ledger.all()) {
			_, err := ch.QueueDelete(queue, false, false, false)
			require.NoError(t, err)
		}
		for _, exchange := range amqp.Exchanges(p.prefix) {
			require.NoError(t, ch.ExchangeDelete(exchange, false, false))
		}
	})
	return p
}

// raw is a channel to the broker, past the bus.
func (p *place) raw() *amqp091.Channel {
	p.Helper()
	conn, err := amqp091.Dial(p.url)
	require.NoError(p, err)
	p.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(p, err)
	return ch
}

// open opens a bus that the test closes.
func (p *place) open(change ...func(*amqp.Options)) *amqp.Bus {
	p.Helper()
	o := amqp.Options{URL: config.SecretURL(p.url), Exchange: p.prefix, Ledger: p.ledger}
	for _, c := range change {
		c(&o)
	}
	b, err := amqp.Open(p.Context(), o)
	require.NoError(p, err)
	p.Cleanup(func() { require.NoError(p, b.Close()) })
	return b
}

// ledger is a table in memory.
type ledger struct {
	mu   sync.Mutex
	now  map[string]amqp.Entry
	ever map[string]bus.Subscription
	err  error
}

func newLedger() *ledger {
	return &ledger{now: map[string]amqp.Entry{}, ever: map[string]bus.Subscription{}}
}

func (l *ledger) all() []bus.Subscription {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.ever))
}

func (l *ledger) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *ledger) All(context.Context) ([]amqp.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.now)), l.err
}

func (l *ledger) Put(_ context.Context, entries []amqp.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	for _, e := range entries {
		l.now[e.ID()], l.ever[e.ID()] = e, e.Subscription
	}
	return nil
}

func (l *ledger) Remove(_ context.Context, entries []amqp.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		delete(l.now, e.ID())
	}
	return l.err
}

func TestBus(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		server(t)
		bustest.Run(t, bustest.Suite{
			Open: func(t testing.TB) func() bus.Bus {
				p := newPlace(t)
				return func() bus.Bus { return p.open() }
			},
			Kill: func(b bus.Bus) {
				if killed, ok := b.(*amqp.Bus); ok {
					killed.Kill()
				}
			},
		})
	})
}

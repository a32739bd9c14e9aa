package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/rabbittest"
)

const (
	thing = "courier.thing.happened"
	taken = "courier.step.taken"
)

// hearers are modules that hear what courier publishes, and publish nothing.
func hearers(t *testing.T, dir string, n int) (names []string) {
	t.Helper()
	for i := range n {
		name := fmt.Sprintf("hearer%d", i)
		source := filepath.Join(built, "modules", "courier")
		target := filepath.Join(dir, "modules", name)
		require.NoError(t, os.CopyFS(target, os.DirFS(source)))
		require.NoError(t, os.Rename(filepath.Join(target, "bin", "courier"), filepath.Join(target, "bin", name)))
		manifest, err := os.ReadFile(filepath.Join(target, "module.yaml"))
		require.NoError(t, err)
		manifest = bytes.Replace(manifest, []byte("name: courier\n"), []byte("name: "+name+"\n"), 1)
		begin, rest, _ := bytes.Cut(manifest, []byte("  publishes:\n"))
		_, rest, _ = bytes.Cut(rest, []byte("  subscribes:\n"))
		manifest = append(append(begin, "  subscribes:\n"...), rest...)
		require.NoError(t, os.WriteFile(filepath.Join(target, "module.yaml"), manifest, 0o600))
		names = append(names, name)
	}
	return names
}

// chaos is a platform whose daemon, modules, broker and connections are killed while it works.
type chaos struct {
	t      *testing.T
	dir    string
	env    []string
	broker *rabbittest.Node  // nil: the bus is embedded
	wire   *rabbittest.Proxy // to the broker
	p      atomic.Pointer[platform]
	tries  atomic.Int64
}

// newChaos starts a platform with courier and so many modules more, which hear what it publishes.
func newChaos(t *testing.T, onBroker bool, modules int) (c *chaos, names []string) {
	t.Helper()
	c = &chaos{t: t, dir: newDir(t, "courier")}
	names = hearers(t, c.dir, modules)
	if onBroker {
		brokerURL(t) // no test of a broker where none is wanted
		c.broker = rabbittest.New(t)
		c.wire = rabbittest.NewProxy(t, c.broker.URL())
		c.env = []string{"PLATFORMD_EVENTS_URL=" + c.wire.URL(c.broker.URL())}
		c.broker.Start()
		c.broker.AwaitUp()
	}
	c.launch()
	return c, names
}

func (c *chaos) launch() {
	p := launch(c.t, c.dir, options{env: c.env})
	p.awaitReady()
	c.p.Store(p)
}

// killDaemon kills the core, and starts another one.
func (c *chaos) killDaemon() {
	p := c.p.Load()
	require.NoError(c.t, p.cmd.Process.Kill())
	<-p.exited
	c.launch()
}

func (c *chaos) killModule(name string) {
	view, err := c.p.Load().admin().Module(c.t.Context(), name)
	if err == nil && len(view.Instances) > 0 && view.Instances[0].PID > 1 {
		_ = syscall.Kill(view.Instances[0].PID, syscall.SIGKILL)
	}
}

// publish does not give up: the same events are published until the platform has said that they are.
func (c *chaos) publish(o order) {
	body, err := json.Marshal(o)
	require.NoError(c.t, err)
	deadline := time.Now().Add(5 * patience)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for ; ; <-again.C {
		got, err := c.p.Load().try(http.MethodPost, "/api/v1/courier/publish", "", string(body))
		if err == nil && got.status == http.StatusOK {
			return
		}
		c.tries.Add(1)
		if time.Now().After(deadline) {
			c.t.Errorf("cannot publish: %d %s %v", got.status, got.body, err)
			return
		}
	}
}

// TestEventsG19 publishes, half of it with transactions, while cores, modules, the broker and connections are killed: what was
// published has its effect once in each subscriber, and events of one key in their order (G22).
func TestEventsG19(t *testing.T) {
	t.Parallel()
	for name, onBroker := range map[string]bool{"embedded": false, "rabbitmq": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			subscribers, events := count(2, 5), count(2_000, 100_000)
			c, names := newChaos(t, onBroker, subscribers-1)
			names = append(names, "courier")
			r := newRage(onBroker)
			died := 0
			report(t, proof{"G19", "events on " + name + ", each with one effect, while all is killed", events}, func() string {
				return fmt.Sprintf("%d subscribers; %s; %d publishes tried again; %d dead letters, retried", subscribers, r, c.tries.Load(),
					died)
			})
			report(t, proof{"G22", "events on " + name + " that did not overtake one of their key", events}, func() string {
				return fmt.Sprintf("%d keys", publishers*keysEach)
			})
			var publishing, killing sync.WaitGroup
			for i := range publishers {
				publishing.Go(func() { c.publishAll(i, events/publishers) })
			}
			done := make(chan struct{})
			killing.Go(func() { r.run(c, done, names) })
			publishing.Wait()
			close(done)
			killing.Wait()
			died = c.settle(names, events)
		})
	}
}

const (
	publishers = 4
	keysEach   = 25 // of each publisher
)

// publishAll publishes n events of one publisher, 50 at a time, and sometimes one that is not handled the first time.
func (c *chaos) publishAll(publisher, n int) {
	const batch = 50
	for at := 0; at < n; at += batch {
		key := at / batch % keysEach // which is published in one way only: what is in an outbox is published later
		o := order{Type: taken, Key: fmt.Sprintf("p%d-%d", publisher, key), N: at, Count: batch, Outbox: key%2 == 0}
		if at/batch%8 == 5 {
			o.Count = batch - 1
			c.publish(o)
			o.N, o.Count, o.Do = at+batch-1, 1, "flaky"
		}
		c.publish(o)
	}
}

// rage is what is done to a platform, and how often: what the guarantee says.
type rage struct{ cores, modules, brokers, cuts int }

func newRage(onBroker bool) rage {
	r := rage{cores: count(2, 100), modules: count(4, 200)}
	if onBroker {
		r.brokers, r.cuts = count(1, 30), count(2, 50)
	}
	return r
}

// String implements fmt.Stringer.
func (r rage) String() string {
	return fmt.Sprintf("killed: %d cores, %d modules, %d brokers, %d connections", r.cores, r.modules, r.brokers, r.cuts)
}

// run does it all in no order, in haste once done is closed.
func (r rage) run(c *chaos, done <-chan struct{}, modules []string) {
	var acts []func(i int)
	acts = append(acts, slices.Repeat([]func(int){func(int) { c.killDaemon() }}, r.cores)...)
	acts = append(acts, slices.Repeat([]func(int){func(i int) { c.killModule(modules[i%len(modules)]) }}, r.modules)...)
	acts = append(acts, slices.Repeat([]func(int){func(int) { c.killBroker() }}, r.brokers)...)
	acts = append(acts, slices.Repeat([]func(int){c.disturb}, r.cuts)...)
	rand.Shuffle(len(acts), func(i, j int) { acts[i], acts[j] = acts[j], acts[i] })
	for i, act := range acts {
		act(i)
		select {
		case <-done:
		case <-time.After(300 * time.Millisecond):
		}
	}
	if c.broker != nil {
		c.broker.AwaitUp()
		c.wire.Slices(wholePieces)
	}
}

const wholePieces = 64 << 10

// killBroker kills the broker once it is up, and starts it again.
func (c *chaos) killBroker() {
	c.broker.AwaitUp()
	c.broker.Kill()
	c.broker.Start()
}

// disturb resets all connections to the broker, some after they were slow or said nothing.
func (c *chaos) disturb(i int) {
	switch i % 4 {
	case 0:
		c.wire.Slices(1000)
	case 1:
		c.wire.Slices(wholePieces)
	case 2:
		c.wire.Stall()
		<-time.After(time.Second)
		c.wire.GoOn()
	}
	c.wire.Cut()
}

// TestEventsG23: while the broker is away, or takes nothing, requests are answered; what they publish with transactions waits,
// and is delivered after.
func TestEventsG23(t *testing.T) {
	t.Parallel()
	c, _ := newChaos(t, true, 0)
	var writes writes
	stopped, blocked := time.Duration(count(5, 60))*time.Second, time.Duration(count(3, 30))*time.Second
	report(t, proof{"G23", "seconds with the broker stopped, under load", int(stopped.Seconds())}, writes.String)
	report(t, proof{"G23", "seconds with the broker blocked, under load", int(blocked.Seconds())}, nil)
	p := c.p.Load()
	writes.during(c, time.Second)
	c.broker.Kill()
	writes.during(c, stopped)
	p.await("the backlog to be known", func() bool {
		info, err := p.admin().Info(t.Context())
		require.NoError(t, err)
		return info.OutboxWaiting > 0
	})
	var info struct {
		Waiting int64 `json:"outbox_waiting"`
	}
	require.NoError(t, json.Unmarshal([]byte(p.cli("status", "-o", "json")), &info))
	require.Positive(t, info.Waiting)
	require.Contains(t, p.cli("status"), "wait in outboxes")
	direct := p.publish(order{Type: thing, ID: "direct"})
	require.Equal(t, http.StatusServiceUnavailable, direct.status, direct.body)
	require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/courier/effects", "", "").status)
	c.broker.Start()
	c.broker.AwaitUp()
	c.awaitEffects("courier", writes.count)
	p.awaitEmptyOutbox()

	c.broker.Ctl("set_vm_memory_high_watermark", "0.00001")
	writes.during(c, blocked)
	c.broker.Ctl("set_vm_memory_high_watermark", "0.4")
	c.awaitEffects("courier", writes.count)
	p.awaitEmptyOutbox()
	require.Empty(t, p.deadLetters())
}

// writes are requests that publish with a transaction.
type writes struct {
	number  atomic.Int64
	mu      sync.Mutex
	slowest time.Duration
}

func (w *writes) count() int { return int(w.number.Load()) }

// during has several clients write for a while, and fails if one of them is refused or made to wait.
func (w *writes) during(c *chaos, d time.Duration) {
	c.t.Helper()
	var clients sync.WaitGroup
	end := time.Now().Add(d)
	for range 4 {
		clients.Go(func() {
			pause := time.NewTicker(10 * time.Millisecond) // or it is too much for a machine that does much else
			defer pause.Stop()
			for ; time.Now().Before(end); <-pause.C {
				began := time.Now()
				body := fmt.Sprintf(`{"Type":%q,"N":%d,"Outbox":true}`, thing, w.number.Add(1))
				got, err := c.p.Load().try(http.MethodPost, "/api/v1/courier/publish", "", body)
				if err != nil || got.status != http.StatusOK {
					c.t.Errorf("a write failed: %d %s %v", got.status, got.body, err)
					return
				}
				w.mu.Lock()
				w.slowest = max(w.slowest, time.Since(began))
				w.mu.Unlock()
			}
		})
	}
	clients.Wait()
	require.Less(c.t, w.slowest, 5*time.Second)
}

// String implements fmt.Stringer.
func (w *writes) String() string {
	return fmt.Sprintf("%d writes, the slowest %s", w.number.Load(), w.slowest.Round(time.Millisecond))
}

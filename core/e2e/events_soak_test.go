package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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

// chaos is a platform whose daemon, modules and broker connections are killed while it works.
type chaos struct {
	t     *testing.T
	dir   string
	env   []string
	wire  *proxy // nil: the bus needs no connection
	p     atomic.Pointer[platform]
	tries atomic.Int64
}

func newChaos(t *testing.T, env []string, modules int) (c *chaos, names []string) {
	t.Helper()
	c = &chaos{t: t, dir: newDir(t, "courier"), env: env}
	names = hearers(t, c.dir, modules)
	for i, setting := range c.env {
		address, ok := strings.CutPrefix(setting, "PLATFORMD_EVENTS_URL=")
		if !ok {
			continue
		}
		broker, err := url.Parse(address)
		require.NoError(t, err)
		c.wire = startProxy(t, broker.Host)
		broker.Host = c.wire.listener.Addr().String()
		c.env[i] = "PLATFORMD_EVENTS_URL=" + broker.String()
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
	if out, _, code := c.p.Load().tryCLI("module", "show", name, "-q"); code == 0 {
		var pid int
		if _, err := fmt.Sscan(out, &pid); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// publish does not give up: the same events are published until the platform has said that they are.
func (c *chaos) publish(o order) {
	body, err := json.Marshal(o)
	require.NoError(c.t, err)
	deadline := time.Now().Add(5 * patience)
	for {
		got, err := c.p.Load().try(http.MethodPost, "/api/v1/courier/publish", "", string(body))
		if err == nil && got.status == http.StatusOK {
			return
		}
		c.tries.Add(1)
		if time.Now().After(deadline) {
			c.t.Errorf("cannot publish: %d %s %v", got.status, got.body, err)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// tally is how many effects a module has, and of how many events.
type tally struct{ Count, Distinct, Inversions int }

func (c *chaos) tally(module string) (got tally) {
	answer, err := c.p.Load().try(http.MethodGet, "/api/v1/"+module+"/tally", "", "")
	if err == nil && answer.status == http.StatusOK {
		_ = json.Unmarshal([]byte(answer.body), &got)
	}
	return got
}

// settle waits until every module has all effects, and checks that none has one twice or out of order.
func (c *chaos) settle(names []string, want int) {
	c.t.Helper()
	deadline := time.Now().Add(time.Duration(count(2, 20)) * time.Minute)
	for _, name := range names {
		for c.tally(name).Distinct < want {
			require.True(c.t, time.Now().Before(deadline), "%s has %+v of %d\n%s", name, c.tally(name), want,
				c.p.Load().cli("events", "pending"))
			time.Sleep(50 * time.Millisecond)
		}
		require.Equal(c.t, tally{want, want, 0}, c.tally(name), name)
	}
	require.Empty(c.t, c.p.Load().deadLetters())
}

// TestEventsG19 publishes, half of it with transactions, while cores, modules and connections are killed: what was published has
// its effect once in each subscriber, and events of one key in their order (G22).
func TestEventsG19(t *testing.T) {
	t.Parallel()
	onEachBus(t, func(t *testing.T, env []string) {
		const batch = 50
		subscribers := count(2, 5)
		events := count(2_000, 100_000)
		c, names := newChaos(t, env, subscribers-1)
		names = append(names, "courier")
		report(t, proof{"G19", "events, each with one effect, while all is killed", events}, func() string {
			return fmt.Sprintf("%d subscribers; %d publishes tried again", subscribers, c.tries.Load())
		})
		var publishing, killing sync.WaitGroup
		const publishers = 4
		for i := range publishers {
			publishing.Go(func() {
				for n := 0; n < events/publishers; n += batch {
					key := n / batch % 25 // which is published in one way only: what is in an outbox is published later
					c.publish(order{Type: taken, Key: fmt.Sprintf("p%d-%d", i, key), N: n, Count: batch, Outbox: key%2 == 0})
				}
			})
		}
		done := make(chan struct{})
		killing.Go(func() { c.rage(done, append(names[:len(names):len(names)], "courier")) })
		publishing.Wait()
		close(done)
		killing.Wait()
		c.settle(names, events)
	})
}

// rage kills until done, at least as often as the guarantee says.
func (c *chaos) rage(done <-chan struct{}, modules []string) {
	cores, killed, cuts := count(2, 100), count(4, 200), count(2, 50)
	for i := 0; cores+killed+cuts > 0; i++ {
		switch {
		case i%8 == 7 && cores > 0:
			c.killDaemon()
			cores--
		case i%4 == 3 && cuts > 0:
			if c.wire != nil {
				c.wire.cut(false)
			}
			cuts--
		case killed > 0:
			c.killModule(modules[i%len(modules)])
			killed--
		}
		select {
		case <-done:
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// TestEventsG23: while the broker is away requests are answered, what they publish with transactions waits, and is delivered after.
func TestEventsG23(t *testing.T) {
	t.Parallel()
	env := brokerEnv(t)
	c, _ := newChaos(t, env, 0)
	outage := time.Duration(count(5, 60)) * time.Second
	var slowest time.Duration
	published := 0
	report(t, proof{"G23", "seconds without the broker, under load", int(outage.Seconds())}, func() string {
		return fmt.Sprintf("%d writes, none failed, the slowest %s", published, slowest.Round(time.Millisecond))
	})
	p := c.p.Load()
	c.wire.cut(true)
	for began := time.Now(); time.Since(began) < outage; {
		at := time.Now()
		got := p.publish(order{Type: thing, N: published, Outbox: true})
		require.Equal(t, http.StatusOK, got.status, got.body)
		slowest = max(slowest, time.Since(at))
		published++
		time.Sleep(5 * time.Millisecond)
	}
	require.Less(t, slowest, 5*time.Second)
	var info struct {
		Waiting int64 `json:"outbox_waiting"`
	}
	p.await("status to show the backlog", func() bool {
		require.NoError(t, json.Unmarshal([]byte(p.cli("status", "-o", "json")), &info))
		return info.Waiting > 0
	})
	require.Contains(t, p.cli("status"), "wait in outboxes")
	direct := p.publish(order{Type: thing, ID: "direct"})
	require.Equal(t, http.StatusServiceUnavailable, direct.status, direct.body)
	require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/courier/effects", "", "").status)
	c.wire.cut(false)
	p.await("everything to be delivered", func() bool { return c.tally("courier").Distinct >= published })
	p.awaitEmptyOutbox()
}

package amqp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/amqp"
	"github.com/platformd/platformd/core/internal/bus/bustest"
)

// sbin is where Debian keeps RabbitMQ's programs that do not change the user first.
const sbin = "/usr/lib/rabbitmq/bin/"

// private is a RabbitMQ node of a test's own.
type private struct {
	testing.TB
	dir, name string
	port      int
	process   *exec.Cmd
}

// newPrivate prepares a node; start starts it.
func newPrivate(t testing.TB) *private {
	t.Helper()
	server(t) // no test of a broker where none is wanted
	if _, err := os.Stat(sbin + "rabbitmq-server"); err != nil {
		const fix = sbin + "rabbitmq-server is not there (fix: install Debian's package rabbitmq-server)"
		if os.Getenv("PLATFORMD_TEST_SERVICES") == "required" {
			t.Fatal(fix)
		}
		t.Skip(fix)
	}
	p := &private{TB: t, dir: t.TempDir(), port: freePort(t)}
	p.name = fmt.Sprintf("pdtest%d@localhost", p.port)
	p.write("rabbitmq.conf",
		fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d\nlog.console = false\ndisk_free_limit.absolute = 1MB\n", p.port))
	p.write("enabled_plugins", "[].")
	t.Cleanup(p.kill)
	return p
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	_, text, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	port, err := net.LookupPort("tcp", text)
	require.NoError(t, err)
	return port
}

func (p *private) write(name, text string) {
	p.Helper()
	require.NoError(p, os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600))
}

func (p *private) url() string { return fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", p.port) }

func (p *private) env() []string {
	env := append(os.Environ(), "HOME="+p.dir, "RABBITMQ_NODENAME="+p.name, fmt.Sprint("RABBITMQ_DIST_PORT=", freePort(p)),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 1:1 +sbwt none", "RABBITMQ_PID_FILE="+filepath.Join(p.dir, "pid"))
	for name, file := range map[string]string{
		"CONFIG_FILE": "rabbitmq.conf", "MNESIA_BASE": "db", "LOG_BASE": "log", "ENABLED_PLUGINS_FILE": "enabled_plugins",
	} {
		env = append(env, "RABBITMQ_"+name+"="+filepath.Join(p.dir, file))
	}
	return env
}

func (p *private) start() {
	p.Helper()
	p.process = exec.CommandContext(context.WithoutCancel(p.Context()), sbin+"rabbitmq-server")
	p.process.Env = p.env()
	p.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its shell and its node are killed together
	require.NoError(p, p.process.Start())
}

// kill is kill -9 of the node and all that it started.
func (p *private) kill() {
	if p.process == nil {
		return
	}
	require.NoError(p, syscall.Kill(-p.process.Process.Pid, syscall.SIGKILL))
	_ = p.process.Wait() // says that it was killed
	p.process = nil
}

// ctl runs rabbitmqctl.
func (p *private) ctl(args ...string) {
	p.Helper()
	command := exec.CommandContext(p.Context(), sbin+"rabbitmqctl", append([]string{"-q", "-n", p.name}, args...)...)
	command.Env = p.env()
	out, err := command.CombinedOutput()
	require.NoError(p, err, string(out))
}

// lines is a log.
type lines struct {
	mu  sync.Mutex
	out strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.out.String(), text)
}

// A broker that is started late, killed, short of memory, and replaced by an empty one.
func TestABrokerOfItsOwn(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		broker := newPrivate(t)
		var out lines
		place := &place{TB: t, url: broker.url(), prefix: "platformd", ledger: newLedger()}
		b := place.open(func(o *amqp.Options) {
			o.Heartbeat, o.Log = time.Second, hclog.New(&hclog.LoggerOptions{Output: &out})
		})
		s := bus.Subscription{Module: "notify", Pattern: "blog.*"}
		declared := func() bool { return b.Declare(t.Context(), "notify", []bus.Subscription{s}) == nil }
		broker.start()
		require.Eventually(t, declared, 90*time.Second, 100*time.Millisecond)
		require.Eventually(t, func() bool { return out.count("answers again") == 1 }, 30*time.Second, 10*time.Millisecond)
		require.Equal(t, 1, out.count("does not answer"))

		events := make([]bus.Event, 200)
		for i := range events {
			events[i] = event("blog.made")
		}
		require.Nil(t, b.Publish(t.Context(), events[:100]))
		waitsFor := blocked(t, broker, b)
		require.NoError(t, waitsFor)
		taken := publishThrough(t, b, func() {
			broker.kill()
			broker.start()
			require.Eventually(t, declared, 90*time.Second, 100*time.Millisecond)
		})
		require.Equal(t, 2, out.count("does not answer"))
		require.Nil(t, b.Publish(t.Context(), events[100:]))
		events = append(events, taken...)
		var got sync.Map
		consume(t, b, s, bus.Consumer{Concurrency: 8, Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
			got.Store(d.Event.ID, true)
			return bus.Ack()
		}})
		empty(t, b)
		for _, e := range events {
			_, ok := got.Load(e.ID)
			require.True(t, ok, "what was acknowledged came")
		}

		broker.kill()
		require.NoError(t, os.RemoveAll(filepath.Join(broker.dir, "db"))) // it has lost all
		broker.start()
		e := event("blog.made")
		require.Eventually(t, func() bool { return bustest.PublishOne(t.Context(), b, e) == nil }, 90*time.Second, 100*time.Millisecond)
		require.Eventually(t, func() bool { _, ok := got.Load(e.ID); return ok }, 30*time.Second, 10*time.Millisecond)
	})
}

// publishThrough publishes while something happens, and returns what was taken.
func publishThrough(t *testing.T, b bus.Bus, happens func()) (taken []bus.Event) {
	t.Helper()
	over := make(chan struct{})
	var publishing sync.WaitGroup
	begun := make(chan struct{})
	publishing.Go(func() {
		for n := 0; ; n++ {
			batch := make([]bus.Event, 20)
			for i := range batch {
				batch[i] = event("blog.made")
			}
			errs := b.Publish(t.Context(), batch)
			for i := range batch {
				if errs == nil || errs[i] == nil {
					taken = append(taken, batch[i])
				} else if !errors.Is(errs[i], bus.ErrUnavailable) {
					t.Error(errs[i])
				}
			}
			if n == 5 {
				close(begun)
			}
			select {
			case <-over:
				return
			default:
			}
		}
	})
	<-begun
	happens()
	close(over)
	publishing.Wait()
	return taken
}

// blocked has a broker take nothing for a while.
func blocked(t *testing.T, broker *private, b bus.Bus) error {
	t.Helper()
	broker.ctl("set_vm_memory_high_watermark", "0.00001")
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		began := time.Now()
		err := bustest.PublishOne(ctx, b, event("blog.made"))
		require.Less(t, time.Since(began), 10*time.Second)
		if err != nil {
			require.ErrorIs(t, err, bus.ErrUnavailable)
		}
		return err != nil && strings.Contains(err.Error(), "short of memory")
	}, 60*time.Second, 10*time.Millisecond)
	_, err := b.Pending(t.Context())
	require.NoError(t, err, "what publishes nothing is not held up")
	waiting := make(chan error, 1)
	go func() { waiting <- bustest.PublishOne(t.Context(), b, event("blog.made")) }()
	broker.ctl("set_vm_memory_high_watermark", "0.4")
	return <-waiting
}

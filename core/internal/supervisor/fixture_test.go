package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
	"github.com/platformd/platformd/core/internal/logs"
	"github.com/platformd/platformd/core/internal/supervisor"
	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/plugintest/echo"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// patience bounds every wait for a state on a busy machine.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	instancetest.Main(map[string]func() pluginapi.Module{"subject": subject})
	goleak.VerifyTestMain(m)
}

// subject is the module under test. A file "mode" in its folder, read at each start, says how it misbehaves.
func subject() pluginapi.Module {
	echo.Describe() // as if it were built to call that
	mode := func() string {
		content, _ := os.ReadFile("mode") // none: it behaves
		return strings.TrimSpace(string(content))
	}
	return pluginapi.Module{
		Routes: map[string]pluginapi.Handler{"echo": func(w http.ResponseWriter, _ *http.Request) error {
			_, err := io.WriteString(w, "hello")
			return err
		}},
		Init: func(ctx context.Context, _ *pluginapi.Core) error {
			switch mode() {
			case "exit":
				fmt.Fprintln(os.Stderr, "giving up")
				os.Exit(3)
			case "refuse":
				return errors.New("the disk is full")
			case "wait":
				_ = os.WriteFile("waits", nil, 0o600)
				<-ctx.Done()
			}
			return nil
		},
		Health: func(ctx context.Context) error {
			switch mode() {
			case "hang":
				<-ctx.Done()
			case "unwell":
				return errors.New("no mail can be sent")
			}
			return nil
		},
	}
}

// bench runs a supervisor with real processes.
type bench struct {
	t          *testing.T
	supervisor *supervisor.Supervisor
	registry   *instance.Registry
	stop       func()

	mu      sync.Mutex
	history map[string][]supervisor.State
}

// setUp is what a test may change of a module before it runs.
type setUp func(*supervisor.Module)

func newBench(t *testing.T, modules ...*supervisor.Module) *bench {
	t.Helper()
	return newBenchWith(t, func(*supervisor.Deps) {}, modules...)
}

// newBenchWith lets a test change what the supervisor works with.
func newBenchWith(t *testing.T, change func(*supervisor.Deps), modules ...*supervisor.Module) *bench {
	t.Helper()
	b := &bench{t: t, registry: instance.NewRegistry(), history: map[string][]supervisor.State{}}
	deps := supervisor.Deps{
		Launcher: instancetest.Launcher(t),
		Registry: b.registry,
		Log:      hclog.NewNullLogger(),
		Migrate: func(context.Context, *supervisor.Module, *instance.Instance, []string) error {
			return nil
		},
		Database: func(context.Context, *supervisor.Module, *instance.Instance) (*modulev1.Database, error) {
			return &modulev1.Database{}, nil
		},
		Services:     func(*supervisor.Module) func(*grpc.Server) { return func(*grpc.Server) {} },
		Calls:        func(*supervisor.Module) func(*instance.Instance, *net.UnixListener) { return nil },
		Publications: func(*supervisor.Module) func(context.Context, net.Conn) { return nil },
		Agree:        func(*supervisor.Module, []byte) (func(), error) { return nil, nil },
		Verify:       func(context.Context, *supervisor.Module, *instance.Instance, bool) (func(), error) { return nil, nil },
		Output:       func(string) io.WriteCloser { return discard{} },
		Changed:      b.changed,
		LogTail:      func(module string, n int) []logs.Entry { return []logs.Entry{{Module: module, Message: "the end"}} },
		CrashDir:     t.TempDir(),
		Random:       func() float64 { return 0.5 },
	}
	change(&deps)
	b.supervisor = supervisor.New(deps)
	b.supervisor.Load(modules)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() { defer close(ended); b.supervisor.Run(ctx) }()
	b.stop = func() { cancel(); <-ended }
	t.Cleanup(b.stop)
	return b
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

func (b *bench) changed(status supervisor.Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.history[status.Name] = append(b.history[status.Name], status.State)
}

// module makes a module with the given name from the binary of this test. Its manifest has the lines given under runtime.
func module(t *testing.T, name, runtime string, change ...setUp) *supervisor.Module {
	t.Helper()
	text := fmt.Sprintf("apiVersion: platformd/v1\nname: %s\nversion: 1.0.0\nroutes:\n"+
		"  - { id: echo, method: GET, path: /echo, access: public }\nruntime:\n  startTimeout: 20s\n%s", name, runtime)
	m, err := manifest.Parse("module.yaml", []byte(text))
	require.NoError(t, err)
	executable, err := os.Executable()
	require.NoError(t, err)
	mod := &supervisor.Module{
		Module: &catalog.Module{Manifest: m, Dir: t.TempDir(), Executable: executable},
		Budget: supervisor.Budget{Max: 100, Window: time.Hour},
		Env:    []string{"INSTANCETEST_MODULE=subject"},
	}
	for _, f := range change {
		f(mod)
	}
	return mod
}

// misbehave sets the mode of the module's processes.
func misbehave(t *testing.T, mod *supervisor.Module, mode string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(mod.Dir, "mode"), []byte(mode), 0o600))
}

func (b *bench) status(name string) supervisor.Status {
	for _, status := range b.supervisor.Statuses() {
		if status.Name == name {
			return status
		}
	}
	return supervisor.Status{}
}

// await waits until the module's status satisfies a condition, and returns it.
func (b *bench) await(name string, condition func(supervisor.Status) bool) (status supervisor.Status) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		status = b.status(name)
		return condition(status)
	}, patience, time.Millisecond, "last seen: %+v", &status)
	return status
}

func (b *bench) awaitReady(name string, instances int) supervisor.Status {
	b.t.Helper()
	return b.await(name, func(s supervisor.Status) bool {
		return s.State == supervisor.Ready && len(s.Instances) == instances
	})
}

// order gives an order with a deadline.
func (b *bench) order(order func(context.Context, string) error, name string) error {
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	return order(ctx, name)
}

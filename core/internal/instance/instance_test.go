package instance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
	"github.com/platformd/platformd/core/internal/isolation"
	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/link"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

func TestMain(m *testing.M) {
	instancetest.Main(modules())
	ownMain()
	ownCoreMain()
	if err := isolation.Harden(); err != nil { // as the daemon does: all of this must work so
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func modules() map[string]func() pluginapi.Module {
	all := map[string]func() pluginapi.Module{"good": good, "silent": silent, "printer": printer, "mute": mute}
	maps.Copy(all, systemModules())
	return all
}

func good() pluginapi.Module {
	return pluginapi.Module{Routes: map[string]pluginapi.Handler{
		"greet": func(w http.ResponseWriter, r *http.Request) error {
			_, err := fmt.Fprint(w, "hello, ", r.PathValue("name"))
			return err
		},
		"forever": func(w http.ResponseWriter, r *http.Request) error {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return nil
		},
		"grandchild": func(w http.ResponseWriter, r *http.Request) error {
			child := exec.Command("/bin/sleep", "1000") // inherits our stderr
			child.Stderr = os.NewFile(2, "stderr")
			if r.PathValue("setsid") != "" { // out of reach of a kill of our group
				child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			}
			if err := child.Start(); err != nil {
				return err
			}
			_, err := fmt.Fprint(w, child.Process.Pid)
			return err
		},
	}}
}

// silent never shakes hands.
func silent() pluginapi.Module {
	time.Sleep(time.Hour) //nolint:forbidigo // nothing is waited for
	return good()
}

// printer prints where it must not.
func printer() pluginapi.Module {
	fmt.Println("starting up…")
	return good()
}

// mute stops answering in Stop.
func mute() pluginapi.Module {
	module := good()
	module.Stop = func(context.Context) error { select {} }
	return module
}

func call(t *testing.T, inst *instance.Instance, route string, params ...link.Param) string {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	ex := instance.Exchange{Call: &link.Call{Route: route, Params: params, Principal: link.Anonymous(), Path: "/"}}
	require.NoError(t, inst.ServeHTTP(w, r, ex))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	return w.Body.String()
}

func TestLaunchServeStop(t *testing.T) {
	t.Parallel()
	inst := instancetest.Launch(t, instancetest.Launcher(t), "good")
	described, err := inst.Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"forever", "grandchild", "greet"}, described.GetRoutes())
	require.NoError(t, inst.Health(t.Context()))
	require.Equal(t, "hello, Ada", call(t, inst, "greet", link.Param{Name: "name", Value: "Ada"}))
	require.Len(t, inst.SHA256(), 64)
	inst.Stop(t.Context())
	<-inst.Done()
	require.Equal(t, "signal killed", inst.ExitReason())
}

func TestAKilledModuleTakesItsGroupAlong(t *testing.T) {
	t.Parallel()
	inst := instancetest.Launch(t, instancetest.Launcher(t), "good")
	grandchild := startGrandchild(t, inst)
	killAndNotice(t, inst)
	require.Eventually(t, func() bool { return gone(grandchild) }, 10*time.Second, time.Millisecond)
}

func TestAnExitIsNoticedThoughAGrandchildHoldsThePipes(t *testing.T) {
	t.Parallel()
	inst := instancetest.Launch(t, instancetest.Launcher(t), "good")
	grandchild := startGrandchild(t, inst, link.Param{Name: "setsid", Value: "yes"})
	t.Cleanup(func() { _ = syscall.Kill(grandchild, syscall.SIGKILL) })
	killAndNotice(t, inst)
	require.False(t, gone(grandchild), "it must be alive for this test to mean something")
}

func startGrandchild(t *testing.T, inst *instance.Instance, params ...link.Param) int {
	t.Helper()
	pid, err := strconv.Atoi(call(t, inst, "grandchild", params...))
	require.NoError(t, err)
	return pid
}

func killAndNotice(t *testing.T, inst *instance.Instance) {
	t.Helper()
	require.NoError(t, syscall.Kill(inst.PID(), syscall.SIGKILL))
	select {
	case <-inst.Done():
	case <-time.After(10 * time.Second):
		require.FailNow(t, "the exit was not noticed")
	}
	require.Equal(t, "signal killed", inst.ExitReason())
}

// gone says whether pid has ended; a zombie that init has not reaped yet has.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	state, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(state), ") Z ")
}

func TestLaunchGivesUp(t *testing.T) {
	t.Parallel()
	launcher := instancetest.Launcher(t)
	t.Run("at its timeout", func(t *testing.T) {
		t.Parallel()
		spec := instancetest.Spec(t, "silent")
		spec.Timeout = 300 * time.Millisecond
		_, err := launcher.Launch(t.Context(), spec)
		require.ErrorContains(t, err, "startTimeout")
	})
	t.Run("when told to", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := launcher.Launch(ctx, instancetest.Spec(t, "silent"))
		require.Error(t, err)
	})
	t.Run("at a line that is no handshake", func(t *testing.T) {
		t.Parallel()
		_, err := launcher.Launch(t.Context(), instancetest.Spec(t, "printer"))
		require.ErrorContains(t, err, "starting up…")
		require.ErrorContains(t, err, "fix: print nothing before pluginapi.Serve")
	})
	t.Run("without an executable", func(t *testing.T) {
		t.Parallel()
		spec := instancetest.Spec(t, "good")
		spec.Executable = "/does/not/exist"
		_, err := launcher.Launch(t.Context(), spec)
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}

func TestStopIsBoundedWhateverTheModuleDoes(t *testing.T) {
	t.Parallel()
	launcher := instancetest.Launcher(t)
	for name, prepare := range map[string]func(*instance.Instance){
		"mute": func(*instance.Instance) {},
		"good": func(i *instance.Instance) { _ = syscall.Kill(i.PID(), syscall.SIGSTOP) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inst := instancetest.Launch(t, launcher, name)
			prepare(inst)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			begin := time.Now()
			inst.Stop(ctx)
			require.Less(t, time.Since(begin), 10*time.Second)
			<-inst.Done()
		})
	}
}

func TestAStreamEndsWithTheInstance(t *testing.T) {
	t.Parallel()
	inst := instancetest.Launch(t, instancetest.Launcher(t), "good")
	registry := instance.NewRegistry()
	registry.Put("good", inst)
	ended := make(chan any, 1)
	started := make(chan struct{})
	go func() {
		defer func() { ended <- recover() }()
		acquired, err := registry.Acquire(t.Context(), "good", 0)
		if err != nil {
			panic(err)
		}
		defer acquired.Release()
		w := &firstWrite{ResponseWriter: httptest.NewRecorder(), began: started}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		_ = inst.ServeHTTP(w, r, instance.Exchange{
			Call: &link.Call{Route: "forever", Principal: link.Anonymous(), Path: "/"}, Stream: true,
		})
	}()
	<-started
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	inst.Stop(ctx)
	require.NoError(t, ctx.Err(), "Stop had to wait for the stream")
	<-ended
}

// firstWrite tells when the response begins.
type firstWrite struct {
	http.ResponseWriter
	began chan struct{}
	once  sync.Once
}

// WriteHeader implements http.ResponseWriter.
func (w *firstWrite) WriteHeader(statusCode int) {
	w.once.Do(func() { close(w.began) })
	w.ResponseWriter.WriteHeader(statusCode)
}

// Flush implements http.Flusher.
func (w *firstWrite) Flush() {}

func TestOutputReachesItsStream(t *testing.T) {
	t.Parallel()
	var log lockedBuilder
	spec := instancetest.Spec(t, "good")
	spec.Output = func() io.WriteCloser { return &log }
	inst, err := instancetest.Launcher(t).Launch(t.Context(), spec)
	require.NoError(t, err)
	defer inst.Kill()
	require.NoError(t, syscall.Kill(inst.PID(), syscall.SIGTERM))
	<-inst.Done()
	require.Contains(t, log.String(), "stopping on SIGTERM")
	require.Equal(t, "exit 0", inst.ExitReason())
}

type lockedBuilder struct {
	mu sync.Mutex
	strings.Builder
}

// Write implements io.Writer.
func (b *lockedBuilder) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Builder.Write(p)
}

// String implements fmt.Stringer.
func (b *lockedBuilder) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Builder.String()
}

// Close implements io.Closer.
func (b *lockedBuilder) Close() error { return nil }

func TestInitOnlyOnce(t *testing.T) {
	t.Parallel()
	inst := instancetest.Launch(t, instancetest.Launcher(t), "good")
	require.ErrorContains(t, inst.Init(t.Context(), &modulev1.InitRequest{Name: "good"}), "called before")
}

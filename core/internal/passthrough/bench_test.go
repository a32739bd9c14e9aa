package passthrough_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/platformd/platformd/core/internal/passthrough"
)

// The benchmark's three processes are this binary: the test is the caller, and runs itself again as what envRole says.
const (
	envRole   = "PASSTHROUGH_ROLE"
	roleCore  = "core"
	roleOther = "callee"
)

// playRole serves on the first argument's socket until it is killed; the core passes on to the second's.
func playRole() {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: os.Args[1]})
	if err != nil {
		panic(err)
	}
	if os.Getenv(envRole) == roleOther {
		server := grpc.NewServer()
		server.RegisterService(echoes().desc(), nil)
		panic(server.Serve(l))
	}
	raw, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: os.Args[2]})
	if err != nil {
		panic(err)
	}
	to, err := passthrough.NewClient(raw)
	if err != nil {
		panic(err)
	}
	go func() { panic(to.Run()) }()
	passthrough.NewServer(straight(to), usual).Serve(l, nil)
}

func process(b *testing.B, role, procs string, args ...string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), envRole+"="+role, "GOMAXPROCS="+procs)
	cmd.Stderr = os.Stderr
	require.NoError(b, cmd.Start())
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	require.Eventually(b, func() bool {
		_, err := os.Stat(args[0])
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
}

// BenchmarkUnary compares calls through the core with calls without: caller, core and callee are three processes.
func BenchmarkUnary(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // as modules are run: docs/decisions/0010
	dir := socketDir(b)
	callee, core := filepath.Join(dir, "callee"), filepath.Join(dir, "core")
	process(b, roleOther, "1", callee)
	process(b, roleCore, "2", core, callee)
	for _, inFlight := range []int{1, 64} {
		for _, way := range []struct{ name, path string }{{"bare", callee}, {"through", core}} {
			b.Run(fmt.Sprintf("%s/%d", way.name, inFlight), func(b *testing.B) {
				conn := dial(b, way.path)
				calls(b, conn, inFlight)
			})
		}
	}
}

func calls(b *testing.B, conn *grpc.ClientConn, inFlight int) {
	in := make([]byte, 200)
	_, err := call(b.Context(), conn, in)
	require.NoError(b, err)
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	var all sync.WaitGroup
	b.ResetTimer()
	for range inFlight {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				began := time.Now()
				if _, err := call(b.Context(), conn, in); err != nil {
					b.Error(err)
				}
				took[i] = time.Since(began)
			}
		})
	}
	all.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[b.N/2].Nanoseconds())/1000, "p50-us")
	b.ReportMetric(float64(took[b.N*99/100].Nanoseconds())/1000, "p99-us")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

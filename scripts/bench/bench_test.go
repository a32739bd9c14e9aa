//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/scripts/bench/internal/broker"
	"github.com/platformd/platformd/scripts/bench/internal/report"
)

const patience = 5 * time.Minute // compiling included

// output may be read while a process writes it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// build compiles the program. Without what it needs to run, the test is skipped.
func build(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("wrk"); err != nil {
		t.Skip("needs wrk: apt-get install wrk")
	}
	if _, err := os.Stat("../../bin/platformd"); err != nil {
		t.Skip("needs the platform: make build")
	}
	binary := filepath.Join(t.TempDir(), "bench")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	return binary
}

// start runs the program with a temporary folder of its own.
func start(t *testing.T, args ...string) (cmd *exec.Cmd, stdout *bytes.Buffer, stderr *output, temp string) {
	t.Helper()
	temp, err := os.MkdirTemp("", "b") // short: sockets live below it
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(temp) })
	cmd = exec.CommandContext(t.Context(), build(t), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	stdout, stderr = &bytes.Buffer{}, &output{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	require.NoError(t, cmd.Start())
	return cmd, stdout, stderr, temp
}

// requireGone fails if anything of a run is left.
func requireGone(t *testing.T, temp string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(temp, "pdbench*"))
	require.NoError(t, err)
	require.Empty(t, left, "files")
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, line := range lines {
		content, _ := os.ReadFile(line) // else it has just ended
		require.NotContains(t, string(content), temp+"/", "a process of %s", filepath.Dir(line))
	}
}

func TestQuickRun(t *testing.T) {
	t.Parallel()
	cmd, stdout, stderr, temp := start(t,
		"--quick", "--only", "gin,link,http1,netrpc,grpc", "--scenarios", "get16,sse,ws", "-o", "json")
	require.NoError(t, cmd.Wait(), stderr)
	requireGone(t, temp)
	var result report.Result
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &result))
	require.Len(t, result.Scenarios, 3)
	for _, scenario := range result.Scenarios {
		require.Len(t, scenario.Rows, 5)
		for _, row := range scenario.Rows {
			cannot := scenario.ID == "sse" && row.Contestant == "netrpc" || scenario.ID != "get16" && row.Contestant == "grpc"
			require.Equal(t, cannot, !row.Measured(), "%s in %s", row.Contestant, scenario.ID)
			if cannot {
				continue
			}
			require.Zero(t, row.Errors, "%s in %s: %s", row.Contestant, scenario.ID, stderr)
			require.Positive(t, row.PerSecond)
			require.Positive(t, row.P50Micros)
			require.GreaterOrEqual(t, row.P99Micros, row.P50Micros)
			require.Positive(t, row.CPUMicros)
			require.Positive(t, *row.Ratio)
		}
	}
	require.Len(t, result.Footprint.StartMillis, 10)
	require.Positive(t, result.Footprint.StartMedian)
	require.Greater(t, result.Footprint.IdleModuleBytes, int64(1<<20))
	require.Positive(t, result.Footprint.ThousandBytes)
}

func TestQuickRunWithData(t *testing.T) {
	t.Parallel()
	cmd, stdout, stderr, temp := start(t, "--quick", "--scenarios", "list,create", "-o", "json")
	require.NoError(t, cmd.Wait(), stderr)
	requireGone(t, temp)
	var result report.Result
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &result))
	require.Len(t, result.Scenarios, 2)
	contestants := 4
	if result.Note != "" { // no PostgreSQL
		contestants = 2
	}
	for _, scenario := range result.Scenarios {
		require.Equal(t, "gin+gorm", scenario.Baseline)
		require.Len(t, scenario.Rows, contestants)
		for _, row := range scenario.Rows {
			require.Zero(t, row.Errors, "%s in %s: %s", row.Contestant, scenario.ID, stderr)
			require.Positive(t, row.PerSecond)
			require.Positive(t, *row.Ratio)
		}
	}
}

func TestQuickRunWithEvents(t *testing.T) {
	t.Parallel()
	server, err := broker.Connect(t.Context())
	if err != nil {
		t.Skip(err)
	}
	require.NoError(t, server.Close())
	cmd, stdout, stderr, temp := start(t, "--quick", "--scenarios", "publish256,deliver256", "-o", "json")
	require.NoError(t, cmd.Wait(), stderr)
	requireGone(t, temp)
	var result report.Result
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &result))
	require.Len(t, result.Scenarios, 2)
	for _, scenario := range result.Scenarios {
		require.Equal(t, "amqp091", scenario.Baseline)
		require.Len(t, scenario.Rows, 5)
		for _, row := range scenario.Rows {
			require.Zero(t, row.Errors, "%s in %s: %s", row.Contestant, scenario.ID, stderr)
			require.Positive(t, row.PerSecond)
			require.Equal(t, row.Contestant == "embedded", row.Ratio == nil, row.Contestant)
		}
	}
}

func TestQuickRunWithCalls(t *testing.T) {
	t.Parallel()
	cmd, stdout, stderr, temp := start(t, "--quick", "--scenarios", "call1,call64", "-o", "json")
	require.NoError(t, cmd.Wait(), stderr)
	requireGone(t, temp)
	var result report.Result
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &result))
	require.Len(t, result.Scenarios, 2)
	for _, scenario := range result.Scenarios {
		require.Equal(t, "grpc-go", scenario.Baseline)
		require.Len(t, scenario.Rows, 2)
		for _, row := range scenario.Rows {
			require.Zero(t, row.Errors, "%s in %s: %s", row.Contestant, scenario.ID, stderr)
			require.Positive(t, row.PerSecond)
			require.GreaterOrEqual(t, row.P99Micros, row.P50Micros)
			require.Positive(t, row.CPUMicros)
			require.Positive(t, *row.Ratio)
		}
	}
}

func TestWithoutAServer(t *testing.T) {
	t.Setenv("PLATFORMD_TEST_POSTGRESQL", "postgres://nobody@127.0.0.1:1/none")
	cmd, stdout, stderr, temp := start(t, "--quick", "--scenarios", "create", "--only", "gorm-sqlite,blog-postgres")
	require.NoError(t, cmd.Wait(), stderr)
	requireGone(t, temp)
	require.Contains(t, stderr.String(), "without PostgreSQL: ")
	require.Contains(t, stdout.String(), "No PostgreSQL server answered")
	require.NotContains(t, stdout.String(), "blog-postgres")

	cmd, _, stderr, temp = start(t, "--quick", "--only", "blog-postgres")
	require.Error(t, cmd.Wait())
	requireGone(t, temp)
	require.Contains(t, stderr.String(), "nobody can take part (fix:")
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	cmd, _, stderr, temp := start(t, "--only", "gin,link,grpc", "--scenarios", "get1", "--duration", "30s", "--warmup", "0s")
	require.Eventually(t, func() bool { return measuring(temp) }, patience, 10*time.Millisecond, stderr)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	began := time.Now()
	require.Error(t, cmd.Wait())
	require.Equal(t, 130, cmd.ProcessState.ExitCode(), stderr)
	require.Less(t, time.Since(began), 25*time.Second, "it did not wait for the end of the measurement")
	requireGone(t, temp)
}

// measuring reports whether a wrk of this run is at work.
func measuring(temp string) bool {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is right
	for _, line := range lines {
		content, _ := os.ReadFile(line)
		if strings.HasPrefix(string(content), "wrk\x00") && bytes.Contains(content, []byte(temp)) {
			return true
		}
	}
	return false
}

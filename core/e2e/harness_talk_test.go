package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
)

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

// decode reads a JSON body.
func (a answer) decode(t *testing.T, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(a.body), into), "body: %s", a.body)
}

// do sends a request and reads the answer; a transport error fails the test.
func (p *platform) do(method, path, token, body string) answer {
	p.t.Helper()
	got, err := p.try(method, path, token, body)
	require.NoError(p.t, err)
	return got
}

func (p *platform) try(method, path, token, body string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return whole(req)
}

// roundTrip sends a request of any kind; a transport error fails the test.
func (p *platform) roundTrip(req *http.Request) answer {
	p.t.Helper()
	got, err := whole(req)
	require.NoError(p.t, err)
	return got
}

// wholeBy sends a request by a client of its own; a transport error fails the test.
func wholeBy(t *testing.T, client *http.Client, req *http.Request) answer {
	t.Helper()
	got, err := exchange(client, req)
	require.NoError(t, err)
	return got
}

// whole sends a request and reads the answer.
func whole(req *http.Request) (answer, error) { return exchange(http.DefaultClient, req) }

func exchange(client *http.Client, req *http.Request) (answer, error) {
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	content, err := io.ReadAll(res.Body)
	return answer{status: res.StatusCode, header: res.Header, body: string(content)}, err
}

// cli runs a platformd command on the platform's data directory and returns its standard output; a failure fails the test.
func (p *platform) cli(args ...string) string {
	p.t.Helper()
	out, errOut, code := p.tryCLI(args...)
	require.Zero(p.t, code, "platformd %s: %s", strings.Join(args, " "), errOut)
	return out
}

func (p *platform) tryCLI(args ...string) (stdout, stderr string, code int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := p.command(ctx, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	_ = cmd.Run() // its exit code is the result
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// command is a platformd command on the platform's data directory, that has not been started.
func (p *platform) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(built, "platformd"), append(args, "--data-dir", filepath.Join(p.dir, "data"))...)
	cmd.Dir, cmd.Env = p.dir, p.env
	return cmd
}

// token makes an API token.
func (p *platform) token(permissions ...string) string {
	p.t.Helper()
	args := []string{"token", "create", "-q"}
	for _, permission := range permissions {
		args = append(args, "--permission", permission)
	}
	return strings.TrimSpace(p.cli(args...))
}

// admin asks the running daemon, as a command does, without the process that a command is: tests that wait ask often.
func (p *platform) admin() *admin.Client {
	return admin.Dial(admin.SocketPath(filepath.Join(p.dir, "data")))
}

func (p *platform) module(name string) admin.Module {
	p.t.Helper()
	view, err := p.admin().Module(p.t.Context(), name)
	require.NoError(p.t, err)
	require.NotNil(p.t, view.Instances)
	return view
}

// pid is the process id of the module's one instance, once it is ready.
func (p *platform) pid(name string) int {
	p.t.Helper()
	var view admin.Module
	p.await(name+" to be ready", func() bool { view = p.module(name); return view.State == "ready" })
	require.Len(p.t, view.Instances, 1)
	return view.Instances[0].PID
}

// stop sends SIGTERM and waits for the end.
func (p *platform) stop() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.exited:
	case <-time.After(patience):
		require.FailNow(p.t, "the daemon did not stop on SIGTERM")
	}
	require.NoError(p.t, p.exitErr)
}

// alive says whether a process exists and is not a zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

// rss is the resident memory of a process in bytes.
func rss(t *testing.T, pid int) int64 {
	t.Helper()
	statm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	require.NoError(t, err)
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	require.NoError(t, err)
	return pages * int64(os.Getpagesize())
}

// logBuffer collects output while others read it.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String implements fmt.Stringer.
func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

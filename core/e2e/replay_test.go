package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	loadRate    = 500 // requests a second
	loadClients = 128 // connections: enough for what comes while a module restarts
)

// load sends GETs at a steady rate on connections that it keeps, and counts what is not answered with 200. Go's own client
// would hide a lost connection by asking again.
type load struct {
	t       *testing.T
	address string
	head    string        // of each request
	rate    int           // requests a second
	within  time.Duration // after a request is due, it must be answered
	due     chan time.Time
	stop    chan struct{}
	all     sync.WaitGroup

	served, failed atomic.Int64
	slowest        atomic.Int64 // nanoseconds from when a request was due to its answer
	first          sync.Once    // reports the first failure
	crashed        atomic.Int64
	recovered      chan time.Time // when the first request was answered that was sent after crashed; holds one
}

// load begins the usual load.
func (p *platform) load(path string, headers ...string) *load {
	return p.begin(&load{rate: loadRate, within: patience}, path, headers...)
}

// begin has l send what its rate and within say.
func (p *platform) begin(l *load, path string, headers ...string) *load {
	l.t, l.address = p.t, strings.TrimPrefix(p.url, "http://")
	l.due, l.stop = make(chan time.Time, 100*l.rate), make(chan struct{})
	l.recovered = make(chan time.Time, 1)
	headers = append([]string{"GET " + path + " HTTP/1.1", "Host: " + l.address}, headers...)
	l.head = strings.Join(headers, "\r\n") + "\r\n\r\n"
	l.all.Go(l.pace)
	for range loadClients {
		l.all.Go(l.client)
	}
	p.t.Cleanup(l.end)
	return l
}

// pace does not wait for answers: what is late is sent late, but sent.
func (l *load) pace() {
	tick := time.NewTicker(time.Second / time.Duration(l.rate))
	defer tick.Stop()
	defer close(l.due)
	for {
		select {
		case now := <-tick.C:
			l.due <- now
		case <-l.stop:
			return
		}
	}
}

func (l *load) client() {
	conn, err := net.Dial("tcp", l.address)
	if err != nil {
		l.fail(err)
		return
	}
	defer func() { _ = conn.Close() }()
	for reader := bufio.NewReader(conn); ; {
		due, more := <-l.due
		if !more {
			return
		}
		began := time.Now()
		last, err := l.get(conn, reader, due.Add(l.within))
		if err != nil {
			l.fail(err)
			return
		}
		l.served.Add(1)
		l.note(time.Since(due))
		if last {
			return // the platform stops
		}
		if crashed := l.crashed.Load(); crashed != 0 && began.UnixNano() > crashed && l.crashed.CompareAndSwap(crashed, 0) {
			l.recovered <- time.Now()
		}
	}
}

// get sends one request. last says that the answer asked for the connection to be closed.
func (l *load) get(conn net.Conn, reader *bufio.Reader, until time.Time) (last bool, err error) {
	if err := conn.SetDeadline(until); err != nil {
		return false, err
	}
	if _, err := io.WriteString(conn, l.head); err != nil {
		return false, err
	}
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return response.Close, err
}

// note keeps the longest time that a request took.
func (l *load) note(took time.Duration) {
	for {
		slowest := l.slowest.Load()
		if int64(took) <= slowest || l.slowest.CompareAndSwap(slowest, int64(took)) {
			return
		}
	}
}

func (l *load) fail(err error) {
	l.failed.Add(1)
	l.first.Do(func() { l.t.Error("a request failed: ", err) })
}

// end stops the load, once, and waits for the answers that are owed.
func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.all.Wait()
}

// TestSupervisionG6CrashIsInvisible: a module is killed again and again under load, and nobody is told.
func TestSupervisionG6CrashIsInvisible(t *testing.T) {
	kills := count(10, 100)
	var recoveries figures
	report(t, proof{"G6", "kill -9 under 500 GETs a second, none failed", kills}, recoveries.stringer())
	p := start(t, options{modules: []string{"billing", "blog"}, env: manyRestarts})
	token := p.token("blog.*")
	var post struct{ ID string }
	p.do(http.MethodPost, "/api/v1/blog/posts", token, `{"title":"First","body":"It works."}`).decode(t, &post)
	pid := p.pid("blog")
	l := p.load("/api/v1/blog/posts/"+post.ID, "Authorization: Bearer "+token)
	for range kills {
		served := l.served.Load()
		p.await("load on the module", func() bool { return l.served.Load() > served+loadRate/5 || l.failed.Load() > 0 })
		require.Zero(t, l.failed.Load())
		killed := time.Now()
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		l.crashed.Store(killed.UnixNano())
		select {
		case at := <-l.recovered:
			recoveries = append(recoveries, at.Sub(killed))
		case <-time.After(patience):
			require.FailNow(t, "the module does not come back")
		}
		pid = p.pid("blog")
	}
	l.end()
	require.Zero(t, l.failed.Load(), "of %d", l.served.Load())
	require.GreaterOrEqual(t, p.module("blog").Restarts, kills)
}

// TestARouteWaitsForWhatItNeeds kills the module that another one's route needs.
func TestARouteWaitsForWhatItNeeds(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"hello", "evil"}, env: []string{"PLATFORMD_SERVER_HOLDTIMEOUT=30s"}})
	for range 3 {
		restarts := p.module("hello").Restarts
		require.NoError(t, syscall.Kill(p.pid("hello"), syscall.SIGKILL))
		p.await("the crash to be seen", func() bool {
			return p.module("hello").State != "ready" || p.module("hello").Restarts > restarts
		})
		require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/evil/needy", "", "").status)
	}
}

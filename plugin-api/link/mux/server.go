package mux

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/platformd/platformd/plugin-api/link/http1"
	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

const (
	// greetPatience bounds how long a connection may take to say what it is; the core does so with its first write.
	greetPatience = 10 * time.Second
	// acceptPause is the time until the next try if no connection can be accepted, most likely for want of descriptors.
	acceptPause = 50 * time.Millisecond
)

// Server is the module's half. It serves links and HTTP/1.1 on one socket. Its methods are safe for concurrent use.
type Server struct {
	ln      net.Listener
	secret  []byte
	handler http.Handler
	log     hclog.Logger
	beside  *http1.Server // what speaks HTTP/1.1: uploads, upgrades, cores that know no link
	plain   *plainListener
	workers workers
	sides   sideConns
	greet   time.Duration  // greetPatience, but for tests
	stopped chan struct{}  // closed by Shutdown or Close
	running sync.WaitGroup // accept, and a goroutine for each connection that is not HTTP/1.1

	mu       sync.Mutex
	held     map[net.Conn]struct{} // links, and connections that have not said yet what they are
	draining bool
	closed   bool
	busy     int           // exchanges in progress
	quiet    chan struct{} // closed when draining and nothing is in progress
}

// Serve accepts connections on ln, which it owns, until Shutdown or Close.
func Serve(ln net.Listener, config http1.ServerConfig) *Server {
	return serve(ln, config, greetPatience)
}

func serve(ln net.Listener, config http1.ServerConfig, greet time.Duration) *Server {
	if config.Log == nil {
		config.Log = hclog.NewNullLogger()
	}
	s := &Server{
		ln: ln, secret: config.Secret, handler: config.Handler, log: config.Log,
		plain: newPlainListener(ln.Addr()), sides: newSideConns(),
		held: map[net.Conn]struct{}{}, quiet: make(chan struct{}),
		greet: greet, stopped: make(chan struct{}),
	}
	s.beside = http1.Serve(s.plain, config)
	s.running.Go(s.accept)
	return s
}

// Shutdown stops accepting requests and waits for those under way, at most until ctx ends; then it returns ctx's error, and
// Close ends the rest. Upgraded connections are not waited for: their contexts are cancelled when it returns nil.
func (s *Server) Shutdown(ctx context.Context) error {
	select { // else the answers that wait for a side connection would be lost
	case <-s.sides.drain():
	case <-ctx.Done():
	}
	s.stopAccepting()
	s.mu.Lock()
	if !s.draining {
		s.draining = true
		if s.busy == 0 {
			close(s.quiet)
		}
	}
	s.mu.Unlock()
	if err := s.beside.Shutdown(ctx); err != nil {
		return err
	}
	select {
	case <-s.quiet:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends all requests at once: their connections are closed and their contexts cancelled. It does not wait for handlers
// that ignore that.
func (s *Server) Close() error {
	s.stopAccepting()
	s.mu.Lock()
	s.closed = true
	for c := range s.held {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.sides.close()
	err := s.beside.Close()
	s.running.Wait()
	s.workers.close()
	return err
}

func (s *Server) stopAccepting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !isClosed(s.stopped) {
		close(s.stopped)
		_ = s.ln.Close()
	}
}

func (s *Server) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			if s.mayAcceptAgain(err) {
				continue
			}
			return
		}
		if unix, ok := c.(*net.UnixConn); ok && s.hold(c) {
			s.running.Go(func() { s.classify(unix) })
			continue
		}
		_ = c.Close()
	}
}

// mayAcceptAgain waits after an error that passes, and reports any other.
func (s *Server) mayAcceptAgain(err error) bool {
	if isClosed(s.stopped) {
		return false
	}
	if !slices.ContainsFunc(passing, func(e error) bool { return errors.Is(err, e) }) {
		s.log.Error("the data socket accepts no more connections; restart the module", "error", err)
		return false
	}
	s.log.Warn("the data socket accepts no connection for the moment", "error", err)
	timer := time.NewTimer(acceptPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.stopped:
		return false
	}
}

// passing are the errors of Accept that do not last.
var passing = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED}

// hold makes Close close c; false means that it is too late for that. letGo ends it.
func (s *Server) hold(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.held[c] = struct{}{}
	return true
}

func (s *Server) letGo(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, c)
}

// classify finds out what a new connection is for, and serves it if it is a link.
func (s *Server) classify(c *net.UnixConn) {
	defer s.letGo(c)
	_ = c.SetReadDeadline(time.Now().Add(s.greet))
	isLink, err := peekLink(c)
	if err != nil {
		_ = c.Close()
		return
	}
	if !isLink {
		_ = c.SetReadDeadline(time.Time{})
		s.plain.offer(c)
		return
	}
	p, err := readPreface(c, s.secret)
	if err != nil {
		s.log.Warn("refused a connection to the data socket", "error", err)
		_ = c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	if p.role == roleSide {
		s.sides.add(p, c)
		return
	}
	hop.SetBuffer(c, hop.Wide)
	s.serveLink(c)
}

// peekLink looks at the first byte that came, and leaves it where it is.
func peekLink(c *net.UnixConn) (bool, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false, err
	}
	var (
		first  [1]byte
		n      int
		failed error
	)
	err = raw.Read(func(fd uintptr) bool {
		n, _, failed = syscall.Recvfrom(int(fd), first[:], syscall.MSG_PEEK)
		return !errors.Is(failed, syscall.EAGAIN)
	})
	switch {
	case err != nil:
		return false, err
	case failed != nil:
		return false, failed
	case n == 0:
		return false, net.ErrClosed
	}
	return first[0] == magic[0], nil
}

// serveLink reads what the core sends on a link, until it ends.
func (s *Server) serveLink(c *net.UnixConn) {
	batch, err := newBatch(c)
	if err != nil {
		_ = c.Close()
		return
	}
	sc := &serverConn{server: s, batch: batch, exchanges: map[uint32]*incoming{}}
	if err := sc.run(); err != nil {
		s.log.Error("the link to the core broke", "error", err)
	}
	s.sides.closeAll() // their exchanges are over
}

// enter counts an exchange in; false means that the server takes no more.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.busy++
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy--; s.busy == 0 && s.draining {
		close(s.quiet)
	}
}

package rabbittest

import (
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Proxy stands between a bus and the broker, and is as bad as a network can be. It is safe for concurrent use.
type Proxy struct {
	listener net.Listener
	to       string
	all      sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	hold  chan struct{} // closed when what was stalled goes on; nil unless it is
	slice int           // the most bytes that go in one piece
	// generation is that of new connections: those of an older one are frozen.
	generation int
}

// NewProxy begins to forward to the host of a URL. It ends with the test.
func NewProxy(t testing.TB, to string) *Proxy {
	t.Helper()
	u, err := url.Parse(to)
	require.NoError(t, err)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{listener: l, to: u.Host, conns: map[net.Conn]struct{}{}, slice: 64 << 10}
	p.all.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.GoOn()
		p.Cut()
		p.all.Wait()
	})
	return p
}

// URL is that of the broker, by way of the proxy.
func (p *Proxy) URL(to string) string {
	u, _ := url.Parse(to)
	u.Host = p.listener.Addr().String()
	return u.String()
}

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		far, err := new(net.Dialer).Dial("tcp", p.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		p.forward(near, far)
	}
}

func (p *Proxy) forward(near, far net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[near], p.conns[far] = struct{}{}, struct{}{}
	p.all.Go(func() { p.copy(near, far) })
	p.all.Go(func() { p.copy(far, near) })
}

func (p *Proxy) copy(from, to net.Conn) {
	p.mu.Lock()
	mine := p.generation
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range []net.Conn{from, to} {
			_ = c.Close()
			delete(p.conns, c)
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		p.mu.Lock()
		most, hold := p.slice, p.hold
		p.mu.Unlock()
		if hold != nil {
			<-hold
			continue
		}
		n, err := from.Read(buffer[:1+rand.IntN(most)])
		if err != nil {
			return
		}
		p.mu.Lock()
		hold = p.hold
		frozen := p.generation != mine
		p.mu.Unlock()
		if hold != nil {
			<-hold
		}
		if frozen {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// Cut resets every connection.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}

// Stall lets nothing through, without anybody being told.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hold == nil {
		p.hold = make(chan struct{})
	}
}

// Freeze lets nothing through on the connections that there are; it lets others come.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.generation++
}

// GoOn ends Stall.
func (p *Proxy) GoOn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hold != nil {
		close(p.hold)
		p.hold = nil
	}
}

// Slices lets at most n bytes through in one piece.
func (p *Proxy) Slices(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slice = n
}

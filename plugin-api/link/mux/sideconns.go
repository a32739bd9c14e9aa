package mux

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

var (
	errNoSide = errors.New("the core is gone")
	// errNoNewSide says that no new side connection is to be had: the answer goes on in frames.
	errNoNewSide = errors.New("no side connection came")
)

// sidePatience bounds the wait for a side connection: it may break before it says whom it is for.
const sidePatience = time.Second

// maxWide bounds the side connections in use that have wide buffers. What waits in them counts as the module's memory, so a
// hundred clients that read slowly would otherwise use up 256 MiB.
const maxWide = 16

// sideConn is the module's end of a side connection.
type sideConn struct {
	id       uint32
	conn     *net.UnixConn
	exchange uint32 // that it serves; guarded by sideConns.mu
	buffer   int    // bytes, 0 as the kernel has it; guarded by sideConns.mu
}

// chunk is what write needs room for. It must not be the connection's: as soon as the core has the last byte of an answer, the
// connection may carry another, while net.Buffers still looks at its own slices for this one.
type chunk struct {
	header [chunkHeader]byte
	parts  [2][]byte
}

// write sends one chunk.
func (c *sideConn) write(room *chunk, size uint32, p []byte) error {
	binary.BigEndian.PutUint32(room.header[:], size)
	room.parts = [2][]byte{room.header[:], p}
	parts := net.Buffers(room.parts[:])
	_, err := parts.WriteTo(c.conn)
	return err
}

// sideConns are the side connections of one Server.
type sideConns struct {
	mu      sync.Mutex
	idle    []*sideConn
	busy    map[uint32]*sideConn
	waiting map[uint32]chan *sideConn // by the exchange that asked for one
	served  chan struct{}             // closed when draining and nobody waits; nil until then
	closed  bool
}

func newSideConns() sideConns {
	return sideConns{busy: map[uint32]*sideConn{}, waiting: map[uint32]chan *sideConn{}}
}

// add takes a new connection in, for the exchange that it was made for if that still waits.
func (p *sideConns) add(greeting preface, conn *net.UnixConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.busy[greeting.side] != nil {
		_ = conn.Close()
		return
	}
	c := &sideConn{id: greeting.side, conn: conn}
	if waiter := p.waiting[greeting.exchange]; waiter != nil {
		p.use(c, greeting.exchange)
		waiter <- c
		p.stopWaiting(greeting.exchange)
		return
	}
	p.idle = append(p.idle, c)
}

// acquire returns an idle connection, or calls ask, which asks the core for one, and waits for it; errNoNewSide is no failure.
func (p *sideConns) acquire(ctx context.Context, exchange uint32, ask func() error) (*sideConn, error) {
	c, arrival, err := p.get(exchange)
	if c != nil || err != nil {
		return c, err
	}
	if err := ask(); err != nil {
		return nil, err
	}
	timer := time.NewTimer(sidePatience)
	defer timer.Stop()
	select {
	case c, ok := <-arrival:
		if !ok {
			return nil, errNoSide
		}
		return c, nil
	case <-timer.C:
		p.forsake(exchange, arrival)
		return nil, errNoNewSide
	case <-ctx.Done():
		p.forsake(exchange, arrival)
		return nil, context.Cause(ctx)
	}
}

func (p *sideConns) get(exchange uint32) (*sideConn, chan *sideConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errNoSide
	}
	if last := len(p.idle) - 1; last >= 0 {
		c := p.idle[last]
		p.idle = p.idle[:last]
		p.use(c, exchange)
		return c, nil, nil
	}
	if p.served != nil {
		return nil, nil, errNoNewSide // the socket takes no connections any more
	}
	arrival := make(chan *sideConn, 1)
	p.waiting[exchange] = arrival
	return nil, arrival, nil
}

// forsake is called when the exchange no longer waits. A connection that has arrived meanwhile serves another one.
func (p *sideConns) forsake(exchange uint32, arrival <-chan *sideConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopWaiting(exchange)
	select {
	case c, ok := <-arrival:
		if ok {
			delete(p.busy, c.id)
			p.idle = append(p.idle, c)
		}
	default:
	}
}

// free is called when the core has read the whole answer; keep says that it keeps the connection.
func (p *sideConns) free(id uint32, keep bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.busy[id]
	if c == nil {
		return
	}
	delete(p.busy, id)
	if keep {
		p.idle = append(p.idle, c)
	} else {
		_ = c.conn.Close()
	}
}

// use makes c serve an exchange.
func (p *sideConns) use(c *sideConn, exchange uint32) {
	c.exchange = exchange
	p.busy[c.id] = c
	c.resize(len(p.busy))
}

// resize gives c its buffer as one of so many in use.
func (c *sideConn) resize(inUse int) {
	bytes := hop.Narrow
	if inUse <= maxWide {
		bytes = hop.Wide
	}
	if c.buffer != bytes {
		c.buffer = bytes
		hop.SetBuffer(c.conn, bytes)
	}
}

func (p *sideConns) stopWaiting(exchange uint32) {
	delete(p.waiting, exchange)
	if len(p.waiting) == 0 && p.served != nil && !isClosed(p.served) {
		close(p.served)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// drain makes acquire ask for no more connections, and returns what is closed when those that were asked for have come.
func (p *sideConns) drain() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.served == nil {
		p.served = make(chan struct{})
		if len(p.waiting) == 0 {
			close(p.served)
		}
	}
	return p.served
}

// forget closes the connection that carried the answer of an exchange whose handler has returned: the core no longer reads
// it.
func (p *sideConns) forget(exchange uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, c := range p.busy {
		if c.exchange == exchange {
			delete(p.busy, id)
			_ = c.conn.Close()
			return
		}
	}
}

// discard closes a connection in the middle of an answer.
func (p *sideConns) discard(c *sideConn) { p.free(c.id, false) }

// closeAll closes every connection there is.
func (p *sideConns) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		_ = c.conn.Close()
	}
	for _, c := range p.busy {
		_ = c.conn.Close()
	}
	for exchange, arrival := range p.waiting {
		close(arrival)
		p.stopWaiting(exchange)
	}
	p.idle = nil
	clear(p.busy)
}

// close is closeAll, for good.
func (p *sideConns) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.closeAll()
}

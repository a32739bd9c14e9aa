package mux

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

// A side connection carries the rest of one answer's body at a time, in chunks: the size (uint32, big-endian), then so many
// bytes. The last one, with the highest bit set, holds the trailers.
const (
	chunkHeader = 4
	lastChunk   = 1 << 31
	// maxIdleSides bounds the side connections that are kept for later.
	maxIdleSides = 64
)

// side is the core's end of a side connection.
type side struct {
	*net.UnixConn
	id   uint32
	busy bool // guarded by sides.mu
}

// sides are the side connections of one Client.
type sides struct {
	maxIdle int

	mu     sync.Mutex
	lastID uint32
	byID   map[uint32]*side
	idle   int
	closed bool
}

// provideSide makes a side connection for the exchange with the given id.
func (c *Client) provideSide(ctx context.Context, exchange uint32) error {
	s, err := c.sides.add()
	if err != nil {
		return err
	}
	unix, err := c.greet(ctx, preface{role: roleSide, side: s.id, exchange: exchange})
	if err != nil {
		c.sides.drop(s)
		return err
	}
	return c.sides.open(s, unix)
}

// provideSide gives the module a side connection for the rest of the answer. Without one it goes on in frames, after a while.
func (x *exchange) provideSide() error {
	if err := x.client.provideSide(x.ctx, x.id); err != nil {
		return x.ctx.Err()
	}
	return nil
}

// add makes room for a side connection, which nobody uses before open. It counts as idle: the module has not named it.
func (p *sides) add() (*side, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, link.ErrClosed
	}
	for p.lastID++; p.byID[p.lastID] != nil || p.lastID == 0; p.lastID++ {
	}
	s := &side{id: p.lastID, busy: true}
	p.byID[s.id] = s
	return s, nil
}

func (p *sides) open(s *side, unix *net.UnixConn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = unix.Close()
		return link.ErrClosed
	}
	s.UnixConn, s.busy = unix, false
	p.idle++
	return nil
}

// claim returns the side connection that the module has named.
func (p *sides) claim(id uint32) (*side, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.byID[id]
	if s == nil || s.busy {
		return nil, fmt.Errorf("%w: side connection %d is not free", errFrame, id)
	}
	s.busy = true
	p.idle--
	return s, nil
}

// release keeps s, which has nothing left in it, for another answer, or drops it if enough are kept.
func (p *sides) release(s *side) (keep bool) {
	p.mu.Lock()
	keep = p.idle < p.maxIdle && !p.closed
	if keep {
		s.busy = false
		p.idle++
	}
	p.mu.Unlock()
	if !keep {
		p.drop(s)
	}
	return keep
}

// drop closes s, which the caller holds.
func (p *sides) drop(s *side) {
	p.mu.Lock()
	delete(p.byID, s.id)
	p.mu.Unlock()
	if s.UnixConn != nil {
		_ = s.Close()
	}
}

// closeIdle closes those that carry nothing.
func (p *sides) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, s := range p.byID {
		if !s.busy {
			_ = s.Close()
			delete(p.byID, id)
		}
	}
	p.idle = 0
}

// close closes them all; an answer that one of them carries breaks off.
func (p *sides) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, s := range p.byID {
		if s.UnixConn != nil {
			_ = s.Close()
		}
	}
	clear(p.byID)
}

// relaySide writes to the client what comes on the side connection, the rest of the answer.
func (x *exchange) relaySide(id uint32) error {
	s, err := x.client.sides.claim(id)
	if err != nil {
		return err
	}
	x.side = s // to be dropped, unless all goes well
	if !x.watch.Attach(s) {
		return errCut
	}
	trailers, err := x.copyChunks(s)
	if err != nil {
		return err
	}
	x.side = nil
	var forget flags
	if !x.client.sides.release(s) {
		forget = flagEnd
	}
	free := appendFrame(nil, frame{kind: kindSideFree, flags: forget, id: s.id})
	_ = x.conn.batch.send(free, true) // if it fails, all sides are gone
	return x.handleTrailers(trailers)
}

// copyChunks writes the chunks to the client and returns the trailers.
func (x *exchange) copyChunks(src io.Reader) (trailers []byte, err error) {
	buf := hop.GetBuffer()
	defer func() {
		if err == nil { // otherwise net/http may not have let go of it: on HTTP/2 a Write can fail while it still writes
			hop.PutBuffer(buf)
		}
	}()
	chunks := chunkReader{}
	for filled := 0; ; {
		n, err := src.Read(buf[filled:])
		if err != nil {
			return nil, fmt.Errorf("read the module's body: %w", unexpected(err))
		}
		rest, err := chunks.next(buf[:filled+n], x.writeBody)
		if err != nil {
			return nil, err
		}
		if chunks.trailers != nil {
			return chunks.trailers, nil
		}
		if err := x.watch.Flush(); err != nil {
			return nil, fmt.Errorf("write to the client: %w", err)
		}
		filled = copy(buf[:], rest)
	}
}

// chunkReader takes a stream of chunks apart.
type chunkReader struct {
	left     int    // bytes of the current chunk that are still to come
	trailers []byte // of the last chunk, which has come; not nil then
}

// next hands the pieces of chunks in data to write. It returns what it needs to see again, with more behind it.
func (c *chunkReader) next(data []byte, write func(piece []byte) error) (rest []byte, err error) {
	for {
		if n := min(c.left, len(data)); n > 0 {
			if err := write(data[:n]); err != nil {
				return nil, err
			}
			data, c.left = data[n:], c.left-n
		}
		if len(data) < chunkHeader {
			return data, nil
		}
		size := binary.BigEndian.Uint32(data)
		if size&lastChunk == 0 {
			data, c.left = data[chunkHeader:], int(size)
			continue
		}
		return data, c.end(data[chunkHeader:], int(size&^lastChunk))
	}
}

func (c *chunkReader) end(data []byte, size int) error {
	switch {
	case size > maxHead || len(data) > size:
		return fmt.Errorf("%w: %d bytes in the last chunk", errFrame, max(size, len(data)))
	case len(data) == size:
		c.trailers = append([]byte{}, data...)
	}
	return nil
}

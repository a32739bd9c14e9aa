package mux

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

// connPair returns two ends of a connection.
func connPair(t *testing.T) (*net.UnixConn, *peer) {
	t.Helper()
	ln := linktest.Listen(t, linktest.SocketPath(t))
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: ln.Addr().String()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	accepted, err := ln.Accept()
	require.NoError(t, err)
	return c, newPeer(t, accepted)
}

func TestBatchLosesNothingAndKeepsTheOrder(t *testing.T) {
	t.Parallel()
	const senders, frames = 16, 500
	c, p := connPair(t)
	b, err := newBatch(c)
	require.NoError(t, err)
	var sending sync.WaitGroup
	for id := range uint32(senders) {
		sending.Go(func() {
			for n := range uint32(frames) {
				payload := append(number(n), make([]byte, n%2000)...)
				if err := b.send(appendFrame(nil, frame{kind: kindData, id: id, payload: payload}), n%2 == 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	next := map[uint32]uint32{}
	for range senders * frames {
		f := p.next(kindData)
		n := binary.BigEndian.Uint32(f.payload)
		require.Equal(t, next[f.id], n)
		require.Len(t, f.payload, 4+int(n%2000))
		next[f.id]++
	}
	sending.Wait()
	b.close()
	p.hungUp()
}

// TestWhoSendsIntoAnEndLearnsOfIt as who waits for an answer does: callers tell a broken link from other faults by the error.
func TestWhoSendsIntoAnEndLearnsOfIt(t *testing.T) {
	t.Parallel()
	c, p := connPair(t)
	b, err := newBatch(c)
	require.NoError(t, err)
	conn := &clientConn{batch: b, sides: &sides{}, exchanges: map[uint32]*exchange{}, done: make(chan struct{})}
	require.NoError(t, p.Close())
	conn.run()
	require.ErrorIs(t, b.send(nil, true), io.ErrUnexpectedEOF)
	require.ErrorIs(t, conn.enter(&exchange{}), io.ErrUnexpectedEOF)
}

func TestBatchNeverWaitsForItsPeer(t *testing.T) {
	t.Parallel()
	c, p := connPair(t)
	b, err := newBatch(c)
	require.NoError(t, err)
	large := appendFrame(nil, frame{kind: kindData, id: 1, payload: make([]byte, maxPayload-1)})
	began, sent := time.Now(), 0
	for err == nil {
		if err = b.send(large, false); err == nil {
			sent++
		}
	}
	require.ErrorIs(t, err, errBacklog)
	require.NoError(t, b.send(appendFrame(nil, frame{kind: kindCancel, id: 1}), true), "what is urgent finds room")
	require.Less(t, time.Since(began), linktest.Patience/2)
	b.mu.Lock()
	require.LessOrEqual(t, len(b.pending), maxBacklog+2*maxPayload)
	b.mu.Unlock()
	for range sent {
		p.next(kindData)
	}
	p.next(kindCancel)
	require.NoError(t, b.send(large, false), "there is room again")
	p.next(kindData)
	b.close()
}

func TestBatchKeepsItsFirstError(t *testing.T) {
	t.Parallel()
	c, p := connPair(t)
	b, err := newBatch(c)
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.Eventually(t, func() bool { err = b.send(appendFrame(nil, frame{kind: kindData, id: 1}), true); return err != nil },
		linktest.Patience, time.Millisecond)
	require.Equal(t, err, b.send(nil, false))
	b.fail(io.ErrShortWrite)
	require.Equal(t, err, b.send(nil, true))
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed, "the reader notices")
}

func TestBatchThatIsClosedWithWorkLeft(t *testing.T) {
	t.Parallel()
	c, _ := connPair(t)
	b, err := newBatch(c)
	require.NoError(t, err)
	for range 40 {
		require.NoError(t, b.send(make([]byte, maxPayload), true))
	}
	b.close() // goleak finds the goroutine that writes, if it goes on
	require.ErrorIs(t, b.send(nil, true), link.ErrClosed)
}

// working serves n exchanges at once and returns when all have ended.
func working(t *testing.T, p *peer, n int, gate crossing) {
	t.Helper()
	for id := range uint32(n) {
		p.say(kindRequest, 0, id, request(t, http.MethodGet, "/"))
	}
	for range n {
		<-gate.arrived
	}
	for range n {
		gate.release <- struct{}{}
	}
	for range n {
		p.next(kindHead)
	}
}

// crossing holds handlers up until all are there.
type crossing struct{ arrived, release chan struct{} }

func TestWorkersAreUsedAgain(t *testing.T) {
	t.Parallel()
	gate := crossing{make(chan struct{}), make(chan struct{})}
	server, dial := actedCore(t, func(http.ResponseWriter, *http.Request) {
		gate.arrived <- struct{}{}
		<-gate.release
	})
	p := dial(preface{role: roleFrames})
	idle := func() int {
		server.workers.mu.Lock()
		defer server.workers.mu.Unlock()
		return len(server.workers.idle)
	}
	for range 3 {
		working(t, p, 10, gate)
		require.Eventually(t, func() bool { return idle() == 10 }, linktest.Patience, time.Millisecond)
	}
	working(t, p, 3*maxIdleWorkers, gate)
	require.Eventually(t, func() bool { return idle() == maxIdleWorkers }, linktest.Patience, time.Millisecond)
	require.NoError(t, server.Close()) // goleak finds those that do not end
	require.Zero(t, idle())
}

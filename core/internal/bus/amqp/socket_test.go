package amqp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// counted counts how often it is written to, and fails when it is told to.
type counted struct {
	net.Conn
	writes atomic.Int64
	broken atomic.Bool
}

// Write implements net.Conn.
func (c *counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	if c.broken.Load() {
		return 0, errors.New("it is broken")
	}
	return c.Conn.Write(p)
}

func openSocket(t *testing.T) (*socket, *counted, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { _ = errors.Join(near.Close(), far.Close()) })
	c := &counted{Conn: near}
	s := newSocket(c, time.Minute)
	s.open.Store(true)
	return s, c, far
}

// While the other end takes nothing, what is written waits, and then goes at once and in order.
func TestWhatIsWrittenMeanwhileGoesTogether(t *testing.T) {
	t.Parallel()
	s, c, far := openSocket(t)
	var want bytes.Buffer
	var lone sync.WaitGroup
	want.WriteString("lone")
	lone.Go(func() { _, _ = s.Write([]byte("lone")) })
	require.Eventually(t, func() bool { return c.writes.Load() == 1 }, time.Minute, time.Millisecond)
	for i := range byte(100) {
		want.WriteByte(i)
		n, err := s.Write([]byte{i})
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
	got := make([]byte, want.Len())
	_, err := io.ReadFull(far, got)
	require.NoError(t, err)
	require.Equal(t, want.Bytes(), got)
	lone.Wait()
	require.EqualValues(t, 2, c.writes.Load())
}

// What is not written yet is bounded: who writes more waits.
func TestWhatIsUnwrittenIsBounded(t *testing.T) {
	t.Parallel()
	s, c, far := openSocket(t)
	const piece, kept, more = 1 << 10, 1 + mostUnwritten>>10, 100
	var done atomic.Int64
	var writing sync.WaitGroup
	write := func(pieces int) {
		for range pieces {
			if _, err := s.Write(make([]byte, piece)); err != nil {
				t.Error(err)
			}
			done.Add(1)
		}
	}
	writing.Go(func() { write(1) })
	require.Eventually(t, func() bool { return c.writes.Load() == 1 }, time.Minute, time.Millisecond)
	writing.Go(func() { write(kept + more) })
	require.Eventually(t, func() bool { return done.Load() == kept }, time.Minute, time.Millisecond)
	require.Never(t, func() bool { return done.Load() > kept }, 50*time.Millisecond, time.Millisecond)
	_, err := io.CopyN(io.Discard, far, (1+kept+more)*piece)
	require.NoError(t, err)
	writing.Wait()
}

// A write that fails closes the connection, and says why to whoever writes or asks after it.
func TestAWriteThatFailsIsTheEnd(t *testing.T) {
	t.Parallel()
	for name, pieces := range map[string]int{"lone": 1, "together": 2} {
		s, c, far := openSocket(t)
		c.broken.Store(true)
		for range pieces {
			_, _ = s.Write([]byte("x"))
		}
		_, err := far.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF, name)
		_, err = s.Write([]byte("x"))
		require.ErrorContains(t, err, "it is broken", name)
		require.ErrorContains(t, s.why(), "it is broken", name)
	}
}

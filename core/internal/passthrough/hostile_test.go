package passthrough_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/passthrough"
)

// peer speaks HTTP/2 by hand, so that it can speak it badly.
type peer struct {
	*http2.Framer
	t    testing.TB
	conn net.Conn
	seen []http2.FrameHeader
}

func newPeer(t testing.TB, conn net.Conn) *peer {
	t.Helper()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	p := &peer{Framer: http2.NewFramer(conn, conn), t: t, conn: conn}
	p.AllowIllegalWrites = true
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return p
}

// rude is a caller.
func rude(t testing.TB, path string) *peer {
	t.Helper()
	conn := dialUnix(t, path)
	t.Cleanup(func() { _ = conn.Close() })
	_, err := io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	p := newPeer(t, conn)
	require.NoError(t, p.WriteSettings())
	return p
}

func block(fields ...string) []byte {
	var out bytes.Buffer
	enc := hpack.NewEncoder(&out)
	for i := 0; i < len(fields); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return out.Bytes()
}

var asking = []string{
	":method", "POST", ":scheme", "http", ":path", unaryMethod, ":authority", "x",
	"content-type", "application/grpc", "te", "trailers",
}

func (p *peer) ask(id uint32, end bool) error {
	return p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block(asking...), EndHeaders: true, EndStream: end})
}

// until reads on to a frame that want says yes to; it fails at the connection's end.
func (p *peer) until(want func(http2.Frame) bool) {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		require.NoError(p.t, err, "after %v", p.seen)
		p.seen = append(p.seen, f.Header())
		if want(f) {
			return
		}
	}
}

// cut reads to the end of the connection, which must come.
func (p *peer) cut() {
	p.t.Helper()
	for {
		if _, err := p.ReadFrame(); err != nil {
			require.NotErrorIs(p.t, err, os.ErrDeadlineExceeded)
			return
		}
	}
}

func isReset(id uint32, code http2.ErrCode) func(http2.Frame) bool {
	return func(f http2.Frame) bool {
		reset, ok := f.(*http2.RSTStreamFrame)
		return ok && reset.StreamID == id && reset.ErrCode == code
	}
}

// silent is a Handler under which calls stay undecided.
func silent() *route {
	r := newRoute()
	r.begin = func(*passthrough.Call) passthrough.Next { return passthrough.Next{Later: true} }
	return r
}

// What no peer may do to a connection ends it, and it alone.
func TestWhatEndsAConnection(t *testing.T) {
	path := serve(t, silent(), usual)
	for name, act := range offences() {
		t.Run(name, func(t *testing.T) {
			other := rude(t, path)
			p := rude(t, path)
			_ = act(p) // it may be cut before it is through
			p.cut()
			require.NoError(t, other.WritePing(false, [8]byte{1}))
			other.until(func(f http2.Frame) bool { ping, ok := f.(*http2.PingFrame); return ok && ping.IsAck() })
			_ = other.conn.Close()
		})
	}
}

func offences() map[string]func(p *peer) error {
	return map[string]func(p *peer) error{
		"data on an idle stream":   func(p *peer) error { return p.WriteData(1, false, []byte("x")) },
		"an even stream":           func(p *peer) error { return p.ask(2, false) },
		"a reset of an idle one":   func(p *peer) error { return p.WriteRSTStream(7, http2.ErrCodeCancel) },
		"a window for an idle one": func(p *peer) error { return p.WriteWindowUpdate(9, 1) },
		"an overflowing window": func(p *peer) error {
			_ = p.WriteWindowUpdate(0, 1<<31-1)
			return p.WriteWindowUpdate(0, 1<<31-1)
		},
		"a push promise": func(p *peer) error {
			return p.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: block("a", "b"), EndHeaders: true})
		},
		"a bad setting": func(p *peer) error {
			return p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})
		},
		"headers that are no HPACK": func(p *peer) error {
			return p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		},
		"a continuation of nothing": func(p *peer) error { return p.WriteContinuation(1, true, nil) },
		"something between a header and its continuation": func(p *peer) error {
			_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(asking...)})
			return p.WritePing(false, [8]byte{})
		},
		"continuations without end": func(p *peer) error {
			_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(asking...)})
			for range 1000 {
				if p.WriteContinuation(1, false, block("x", string(make([]byte, 1000)))) != nil {
					return nil
				}
			}
			return nil
		},
		"a frame that is too large": func(p *peer) error { return p.WriteData(1, false, make([]byte, 17<<10)) },
		"data on a stream that is over": func(p *peer) error {
			_ = p.ask(1, false)
			_ = p.WriteRSTStream(1, http2.ErrCodeCancel)
			return flooding(func(p *peer) error { return p.WriteData(1, false, make([]byte, 100)) })(p)
		},
		"a flood of pings":    flooding(func(p *peer) error { return p.WritePing(false, [8]byte{}) }),
		"a flood of settings": flooding(func(p *peer) error { return p.WriteSettings() }),
		"a flood of empty data": func(p *peer) error {
			_ = p.ask(1, false)
			return flooding(func(p *peer) error { return p.WriteData(1, false, nil) })(p)
		},
		"a flood of priorities": flooding(func(p *peer) error { return p.WritePriority(1, http2.PriorityParam{}) }),
		"a flood of unknown":    flooding(func(p *peer) error { return p.WriteRawFrame(77, 0, 0, nil) }),
		"rapid resets":          rapidResets(),
	}
}

func flooding(send func(p *peer) error) func(p *peer) error {
	return func(p *peer) error {
		go func() { _, _ = io.Copy(io.Discard, p.conn) }() // or the flood would stop by itself
		for range 200_000 {
			if err := send(p); err != nil {
				return err
			}
		}
		return nil
	}
}

func rapidResets() func(p *peer) error {
	var id uint32 = 1
	return flooding(func(p *peer) error {
		if err := p.ask(id, false); err != nil {
			return err
		}
		err := p.WriteRSTStream(id, http2.ErrCodeCancel)
		id += 2
		return err
	})
}

// A peer that asks and does not listen must not fill our memory.
func TestAPeerThatDoesNotReadIsCut(t *testing.T) {
	r := newRoute()
	r.begin = func(*passthrough.Call) passthrough.Next {
		return passthrough.Next{Code: codes.Unavailable, Message: string(make([]byte, 8<<10))}
	}
	p := rude(t, serve(t, r, usual))
	var err error
	for id := uint32(1); err == nil && id < 1_000_000; id += 2 {
		err = p.ask(id, true)
	}
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestWhatEndsAStream(t *testing.T) {
	r := silent()
	path := serve(t, r, passthrough.Limits{Streams: 2, Conns: 2})
	p := rude(t, path)
	require.NoError(t, p.ask(1, true))
	require.NoError(t, p.WriteData(1, false, []byte("after the end")))
	p.until(isReset(1, http2.ErrCodeStreamClosed))
	require.Equal(t, codes.Canceled, r.outcome(t).Code)

	require.NoError(t, p.ask(3, false))
	for range 5 {
		require.NoError(t, p.WriteData(3, false, make([]byte, 16<<10))) // nobody takes it: the window is 64 KiB
	}
	p.until(isReset(3, http2.ErrCodeFlowControl))
	r.outcome(t)

	require.NoError(t, p.ask(5, false))
	require.NoError(t, p.ask(5, true)) // trailers
	p.until(isReset(5, http2.ErrCodeProtocol))
	r.outcome(t)

	for i, fields := range [][]string{
		{":method", "GET", ":scheme", "http", ":path", "/a/b"}, {":method", "POST", ":scheme", "http", ":path", "a"},
	} {
		id := uint32(7 + 2*i) //nolint:gosec // small
		p.headers(id, false, fields...)
		p.until(isReset(id, http2.ErrCodeProtocol))
	}

	require.NoError(t, p.ask(1001, false))
	require.NoError(t, p.ask(1003, false))
	require.NoError(t, p.ask(1005, false))
	p.until(isReset(1005, http2.ErrCodeRefusedStream))
	second := rude(t, path) // another connection shares the limit
	require.NoError(t, second.ask(1, false))
	second.until(isReset(1, http2.ErrCodeRefusedStream))
	third := dialUnix(t, path) // one connection too many
	require.NoError(t, third.SetDeadline(time.Now().Add(10*time.Second)))
	_, err := third.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, third.Close())
	require.NoError(t, p.WriteRSTStream(1001, http2.ErrCodeCancel))
	r.outcome(t)
	require.NoError(t, second.ask(3, false)) // the place is free again
	require.NoError(t, second.WritePing(false, [8]byte{}))
	second.until(func(f http2.Frame) bool {
		require.False(t, isReset(3, http2.ErrCodeRefusedStream)(f))
		_, ok := f.(*http2.PingFrame)
		return ok
	})
}

// Padding counts against the window and goes nowhere; it must be given back.
func TestPaddingIsGivenBack(t *testing.T) {
	path, _ := serveGRPC(t, echoes())
	p := rude(t, serve(t, straight(connect(t, path)), usual))
	require.NoError(t, p.ask(1, false))
	may := passthrough.StreamWindow
	padded := append([]byte{255}, make([]byte, 255)...) // no data, and as much padding as there can be
	for range 4 * passthrough.StreamWindow / len(padded) {
		for may < len(padded) {
			p.until(func(f http2.Frame) bool {
				update, ok := f.(*http2.WindowUpdateFrame)
				if ok && update.StreamID == 1 {
					may += int(update.Increment)
				}
				return ok
			})
		}
		require.NoError(t, p.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, padded))
		may -= len(padded)
	}
}

// callee plays a callee by hand.
func callee(t *testing.T, act func(p *peer)) *passthrough.Client {
	t.Helper()
	path := filepath.Join(socketDir(t), "callee")
	l := listen(t, path)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.ReadFull(conn, make([]byte, len(http2.ClientPreface)))
		p := &peer{Framer: http2.NewFramer(conn, conn), t: t, conn: conn}
		p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		p.AllowIllegalWrites = true
		_ = p.WriteSettings()
		act(p)
		_, _ = io.Copy(io.Discard, conn)
	}()
	client := connect(t, path)
	t.Cleanup(func() { client.Close(); _ = l.Close(); <-done })
	return client
}

func (p *peer) reset(id uint32, code http2.ErrCode) { _ = p.WriteRSTStream(id, code) }

func (p *peer) asked() uint32 {
	for {
		f, err := p.ReadFrame()
		if err != nil {
			return 0
		}
		if h, ok := f.(*http2.MetaHeadersFrame); ok {
			return h.StreamID
		}
	}
}

func (p *peer) headers(id uint32, end bool, fields ...string) {
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block(fields...), EndHeaders: true, EndStream: end})
}

// A callee that answers what is no gRPC answer fails the call, not the core.
func TestAnswersThatAreNone(t *testing.T) {
	head := []string{":status", "200", "content-type", "application/grpc"}
	for name, test := range map[string]struct {
		act  func(p *peer, id uint32)
		want codes.Code
	}{
		"data before headers": {func(p *peer, id uint32) { _ = p.WriteData(id, false, []byte("x")) }, codes.Internal},
		"no trailers": {func(p *peer, id uint32) {
			p.headers(id, false, head...)
			_ = p.WriteData(id, true, nil)
		}, codes.Internal},
		"headers without a status": {func(p *peer, id uint32) { p.headers(id, false, "a", "b") }, codes.Internal},
		"a request for an answer":  {func(p *peer, id uint32) { p.headers(id, false, asking...) }, codes.Internal},
		"headers twice": {func(p *peer, id uint32) {
			p.headers(id, false, head...)
			p.headers(id, false, head...)
		}, codes.Internal},
		"refused":                 {func(p *peer, id uint32) { p.reset(id, http2.ErrCodeRefusedStream) }, codes.Unavailable},
		"calm":                    {func(p *peer, id uint32) { p.reset(id, http2.ErrCodeEnhanceYourCalm) }, codes.ResourceExhausted},
		"away, before the call":   {func(p *peer, _ uint32) { _ = p.WriteGoAway(0, http2.ErrCodeNo, nil) }, codes.Unavailable},
		"cut":                     {func(p *peer, _ uint32) { _ = p.conn.Close() }, codes.Unavailable},
		"data of a stranger":      {func(p *peer, _ uint32) { _ = p.WriteData(99, false, []byte("x")) }, codes.Unavailable},
		"a window that overflows": {func(p *peer, id uint32) { _ = p.WriteWindowUpdate(id, 1<<31-1) }, codes.Internal},
		"a call of the callee's":  {func(p *peer, _ uint32) { _ = p.ask(2, true) }, codes.Unavailable},
		"nonsense": {func(p *peer, _ uint32) {
			_, _ = p.conn.Write(bytes.Repeat([]byte{0xee}, 100))
		}, codes.Unavailable},
		"data beyond the window": {tooMuch(head), codes.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			to := callee(t, func(p *peer) {
				if id := p.asked(); id != 0 {
					test.act(p, id)
				}
			})
			_, err := call(t.Context(), dial(t, serve(t, straight(to), usual)), []byte("x"))
			require.Equal(t, test.want, status.Code(err), "%v", err)
		})
	}
}

// tooMuch sends more than a caller that does not read lets through.
func tooMuch(head []string) func(p *peer, id uint32) {
	return func(p *peer, id uint32) {
		p.headers(id, false, head...)
		message := make([]byte, 16<<10)
		binary.BigEndian.PutUint32(message[1:], 64<<20)
		for range 100 {
			if p.WriteData(id, false, message) != nil {
				return
			}
			message = make([]byte, 16<<10)
		}
	}
}

// FuzzConnections feeds both halves what a peer may send: they must end, and not panic.
func FuzzConnections(f *testing.F) {
	add := func(write func(p *http2.Framer)) {
		var out bytes.Buffer
		framer := http2.NewFramer(&out, nil)
		framer.AllowIllegalWrites = true
		_ = framer.WriteSettings()
		write(framer)
		f.Add(out.Bytes())
	}
	ask := http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(asking...), EndHeaders: true}
	add(func(p *http2.Framer) {
		_ = p.WriteHeaders(ask)
		_ = p.WriteData(1, true, []byte("\x00\x00\x00\x00\x00"))
	})
	add(func(p *http2.Framer) { _ = p.WriteHeaders(ask); _ = p.WriteRSTStream(1, http2.ErrCodeCancel) })
	add(func(p *http2.Framer) {
		_ = p.WriteHeaders(ask)
		_ = p.WriteDataPadded(1, true, []byte("x"), make([]byte, 9))
	})
	add(func(p *http2.Framer) { _ = p.WriteWindowUpdate(0, 9); _ = p.WritePing(false, [8]byte{}) })
	add(func(p *http2.Framer) {
		_ = p.WriteGoAway(1, http2.ErrCodeNo, nil)
		_ = p.WritePriority(1, http2.PriorityParam{})
	})
	add(func(p *http2.Framer) {
		_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}, http2.Setting{ID: http2.SettingHeaderTableSize})
	})
	f.Fuzz(func(t *testing.T, input []byte) {
		r := silent()
		path := serve(t, r, usual)
		caller := dialUnix(t, path)
		_, _ = io.WriteString(caller, http2.ClientPreface)
		_, _ = caller.Write(input)
		_ = caller.CloseWrite()
		_, _ = io.Copy(io.Discard, caller)
		_ = caller.Close()

		listening := filepath.Join(socketDir(t), "callee")
		l := listen(t, listening)
		defer l.Close()
		client := connect(t, listening)
		accepted, err := l.AcceptUnix()
		require.NoError(t, err)
		p := rude(t, serve(t, straight(client), usual))
		require.NoError(t, p.ask(1, true))
		_, _ = accepted.Write(input)
		_ = accepted.CloseWrite()
		p.until(func(f http2.Frame) bool { // whatever the callee said, the caller is answered
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				return true
			case *http2.RSTStreamFrame:
				return f.StreamID == 1
			}
			return false
		})
		_ = accepted.Close()
	})
}

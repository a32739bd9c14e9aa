package mux

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/hop"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

func TestFramesSurviveTheWire(t *testing.T) {
	t.Parallel()
	require.NoError(t, quick.Check(func(kinds, fs []uint8, ids []uint32, payload []byte, seed uint64) bool {
		random := rand.New(rand.NewPCG(seed, 1))
		var wire []byte
		var sent []frame
		for i := range min(len(kinds), len(fs), len(ids)) {
			size := []int{0, 1, len(payload), 40 << 10, maxPayload}[random.IntN(5)]
			f := frame{id: ids[i], kind: kind(kinds[i]), flags: flags(fs[i]), payload: bytes.Repeat([]byte{byte(i)}, size)}
			wire = appendFrame(wire, f)
			sent = append(sent, f)
		}
		reader := newFrameReader(&pieces{data: wire, random: random})
		for _, want := range sent {
			got, err := reader.next()
			same := got.id == want.id && got.kind == want.kind && got.flags == want.flags
			if err != nil || !same || !bytes.Equal(got.payload, want.payload) {
				return false
			}
		}
		_, err := reader.next()
		return err == io.EOF //nolint:errorlint // io.EOF itself is promised
	}, &quick.Config{MaxCount: 50}))
}

// pieces is a Reader that returns as much as it likes at a time.
type pieces struct {
	data   []byte
	random *rand.Rand
}

func (p *pieces) Read(buf []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := min(len(buf), len(p.data), 1+p.random.IntN(1+p.random.IntN(100<<10)))
	copy(buf, p.data[:n])
	p.data = p.data[n:]
	return n, nil
}

func TestFrameReaderRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		wire []byte
		want error
	}{
		"nothing":       {nil, io.EOF},
		"half a header": {make([]byte, headerSize-1), io.ErrUnexpectedEOF},
		"half a payload": {
			appendFrame(nil, frame{kind: kindData, id: 1, payload: []byte("hello")})[:headerSize+4], io.ErrUnexpectedEOF,
		},
		"one byte too many": {appendFrame(nil, frame{kind: kindData, id: 1, payload: make([]byte, maxPayload+1)}), errFrame},
		"four gigabytes":    {bytes.Repeat([]byte{0xff}, headerSize), errFrame},
	} {
		_, err := newFrameReader(bytes.NewReader(test.wire)).next()
		require.ErrorIs(t, err, test.want, name)
	}
	_, err := newFrameReader(linktest.ReaderFunc(func([]byte) (int, error) { return 0, nil })).next()
	require.ErrorIs(t, err, io.ErrNoProgress)
}

func FuzzFrames(f *testing.F) {
	seed := appendFrame(nil, frame{kind: kindHead, flags: flagEnd, id: 1, payload: head(200, 2)})
	f.Add(appendFrame(seed, frame{kind: kindData, id: 2, payload: []byte("x")}), uint64(1))
	f.Add([]byte{0, 4, 0, 1, 0, 0, 0, 0, 0, 0}, uint64(2))
	f.Add(bytes.Repeat([]byte{0}, 100), uint64(3))
	f.Fuzz(func(t *testing.T, wire []byte, seed uint64) {
		reader := newFrameReader(&pieces{data: wire, random: rand.New(rand.NewPCG(seed, 1))})
		var again []byte
		for {
			got, err := reader.next()
			require.LessOrEqual(t, len(reader.buf), headerSize+maxPayload)
			if err != nil {
				break
			}
			again = appendFrame(again, got)
		}
		require.True(t, bytes.HasPrefix(wire, again))
	})
}

func TestRequestsSurviveTheWire(t *testing.T) {
	t.Parallel()
	for _, call := range []link.Call{
		{Route: "r", Path: "/", Principal: link.Anonymous()},
		{Route: "r", Path: "/", Principal: link.Anonymous(), Ticket: "t1.abc-_"},
		{Route: "a.b-c_d", Path: "/a b/ü?", Timeout: time.Millisecond,
			Principal: link.Principal{Kind: "x", ID: "\x00\r\n\xff", Name: "ü\u2028"}},
		{Route: "r", Path: "/x", Principal: link.Anonymous(), Params: []link.Param{{Name: "a"}, {Name: "a", Value: "%\xff\r\n"}, {}}},
		{Route: strings.Repeat("r", 1000), Path: "/", Principal: link.Anonymous(),
			Timeout: time.Duration(maxTimeout) * time.Millisecond},
	} {
		r := &http.Request{Method: http.MethodPut, Host: "h:1", URL: &url.URL{RawQuery: "q=1"}, Header: http.Header{
			"X-A": {"1", "", "1"}, "X-B": {"\xff"}, "Authorization": {"x"}, "Te": {"trailers"}, "Platformd-X": {"y"},
		}}
		payload, err := appendRequest(nil, r, &call, 5)
		require.NoError(t, err)
		p, err := parseRequest(append(payload, "hello"...))
		require.NoError(t, err)
		u, err := p.url()
		require.NoError(t, err)
		p.call.Path = u.Path
		require.Equal(t, call, p.call)
		require.Equal(t, http.Header{"X-A": {"1", "", "1"}, "X-B": {"\xff"}, "Te": {"trailers"}}, p.header)
		require.Equal(t, "q=1", u.RawQuery)
		require.Equal(t, []string{"PUT", "h:1", "hello"}, []string{p.method, p.host, string(p.body)})
	}
}

func TestTimeoutIsRoundedUp(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]uint64{-1: 0, 0: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2} {
		require.Equal(t, want, milliseconds(d), d)
	}
}

func TestRequestThatDoesNotFit(t *testing.T) {
	t.Parallel()
	r := &http.Request{Method: http.MethodGet, Host: "h", URL: &url.URL{}, Header: http.Header{"X": make([]string, 1<<16)}}
	_, err := appendRequest(nil, r, &link.Call{Route: "r", Path: "/", Principal: link.Anonymous()}, 0)
	require.ErrorContains(t, err, "65536 headers are too many")
}

func TestParseRequestRefuses(t *testing.T) {
	t.Parallel()
	good := request(t, http.MethodGet, "/%20")
	_, err := parseRequest(good)
	require.NoError(t, err)
	for n := range good {
		_, err := parseRequest(good[:n])
		require.ErrorIs(t, err, errFrame, "cut after %d", n)
	}
	for name, text := range map[string]string{
		"no route":           "\x00\x00\x00\x01a\x00\x00\x03GET\x01/\x01h\x00\x00\x00",
		"no principal":       "\x00\x01r\x00\x00\x00\x00\x03GET\x01/\x01h\x00\x00\x00",
		"an endless timeout": "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01r\x00\x01a\x00\x00\x03GET\x01/\x01h\x00\x00\x00",
		"a longer body":      string(good) + "x",
	} {
		_, err := parseRequest([]byte(text))
		require.ErrorIs(t, err, errFrame, name)
	}
	p := parsedRequest{target: "/%zz"}
	_, err = p.url()
	require.ErrorIs(t, err, errFrame)
}

func FuzzRequest(f *testing.F) {
	f.Add(request(f, http.MethodGet, "/a b"))
	f.Add([]byte("\x05\x01r\x01\x01a\x01b\x01k\x01i\x01n\x03PUT\x04/a?b\x01h\x02\x00\x01\x01X\x01yok"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		p, err := parseRequest(payload)
		if err != nil {
			return
		}
		require.NotEmpty(t, p.call.Route)
		require.NotEmpty(t, p.call.Principal.Kind)
		require.GreaterOrEqual(t, p.call.Timeout, time.Duration(0))
		require.LessOrEqual(t, len(p.body), len(payload))
		for name := range p.header {
			require.Equal(t, textproto.CanonicalMIMEHeaderKey(name), name)
		}
		_, _ = p.url()
	})
}

func FuzzHead(f *testing.F) {
	f.Add(head(200, 5, "Content-Type", "text/plain", "Connection", "X-A", "Trailer", "X-B"))
	f.Add(head(103, -1, "Link", "<x>"))
	f.Add(head(204, 7))
	f.Fuzz(func(t *testing.T, payload []byte) {
		encoded, rest, err := splitHead(payload)
		if err != nil {
			return
		}
		require.Len(t, payload, 4+len(encoded)+len(rest))
		var a hop.Answer
		if parseHead(&a, encoded) != nil {
			return
		}
		require.True(t, a.Status >= 100 && a.Status <= 599 && a.Status != http.StatusSwitchingProtocols)
		require.GreaterOrEqual(t, a.Length, int64(-1))
		header := http.Header{"X-Core": {"1"}}
		a.CopyTo(header, a.Length < 0)
		require.Equal(t, []string{"1"}, header["X-Core"])
		for name, values := range header {
			require.True(t, hop.ValidField(name, values), "%q: %q", name, values)
			require.False(t, hop.Reserved(name) || name != "Trailer" && hop.AboutOneHop(name), name)
		}
	})
}

// readChunks takes a stream of chunks apart that comes in pieces of random size.
func readChunks(wire []byte, random *rand.Rand) (body, trailers []byte, err error) {
	chunks := chunkReader{}
	var seen []byte
	for src := (&pieces{data: wire, random: random}); chunks.trailers == nil; {
		buf := make([]byte, 1+random.IntN(100))
		n, err := src.Read(buf)
		if err != nil {
			return body, nil, err
		}
		rest, err := chunks.next(append(seen, buf[:n]...), func(piece []byte) error { body = append(body, piece...); return nil })
		if err != nil {
			return body, nil, err
		}
		seen = bytes.Clone(rest)
	}
	return body, chunks.trailers, nil
}

func TestChunksSurviveAnyCut(t *testing.T) {
	t.Parallel()
	require.NoError(t, quick.Check(func(sizes []uint8, trailers []byte, seed uint64) bool {
		random := rand.New(rand.NewPCG(seed, 1))
		var wire, body []byte
		for i, size := range sizes {
			piece := bytes.Repeat([]byte{byte(i)}, int(size))
			wire = append(append(wire, number(uint32(size))...), piece...)
			body = append(body, piece...)
		}
		trailers = append(trailers, 0)
		wire = append(append(wire, number(lastChunk|uint32(len(trailers)))...), trailers...)
		got, last, err := readChunks(wire, random)
		return err == nil && bytes.Equal(got, body) && bytes.Equal(last, trailers)
	}, nil))
}

func FuzzChunks(f *testing.F) {
	f.Add(append(append(number(5), "hello"...), 0x80, 0, 0, 1, 0), uint64(1))
	f.Add([]byte{0x80, 0, 0, 0}, uint64(2))
	f.Fuzz(func(t *testing.T, wire []byte, seed uint64) {
		whole, wholeTrailers, wholeErr := readChunks(wire, rand.New(rand.NewPCG(seed, 1)))
		again, trailers, err := readChunks(wire, rand.New(rand.NewPCG(seed, 2)))
		if wholeErr == nil && err == nil {
			require.Equal(t, whole, again)
			require.Equal(t, wholeTrailers, trailers)
		}
		require.LessOrEqual(t, len(whole), len(wire))
	})
}

func TestPrefaceSurvivesTheWire(t *testing.T) {
	t.Parallel()
	for _, p := range []preface{{role: roleFrames}, {role: roleSide, side: 1, exchange: 1<<32 - 1}} {
		wire := p.append(nil, linktest.Secret())
		got, err := readPreface(bytes.NewReader(wire), linktest.Secret())
		require.NoError(t, err)
		require.Equal(t, p, got)
		for i := range wire {
			_, err := readPreface(bytes.NewReader(wire[:i]), linktest.Secret())
			require.Error(t, err)
			bad := bytes.Clone(wire)
			bad[i] ^= 0x40
			got, err := readPreface(bytes.NewReader(bad), linktest.Secret())
			require.True(t, err != nil || got != p, "byte %d means nothing", i)
		}
	}
	for _, empty := range [][]byte{nil, {}} {
		_, err := readPreface(bytes.NewReader(preface{role: roleFrames}.append(nil, empty)), empty)
		require.ErrorIs(t, err, errPreface)
	}
}

func FuzzPreface(f *testing.F) {
	f.Add(preface{role: roleSide, side: 3, exchange: 4}.append(nil, linktest.Secret()))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		p, err := readPreface(bytes.NewReader(wire), linktest.Secret())
		if err == nil {
			require.Equal(t, p.append(nil, linktest.Secret()), wire[:prefaceSize])
		}
	})
}

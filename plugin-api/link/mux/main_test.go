package mux

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/http1"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What both halves do together is tested in package conformance; here, a test plays one of them, frame by frame.

// peer is one end of a connection to the half that is tested.
type peer struct {
	t *testing.T
	*net.UnixConn
	frames *frameReader
}

func newPeer(t *testing.T, c net.Conn) *peer {
	t.Helper()
	unix, ok := c.(*net.UnixConn)
	require.True(t, ok)
	t.Cleanup(func() { _ = unix.Close() })
	require.NoError(t, unix.SetDeadline(time.Now().Add(linktest.Patience)))
	return &peer{t: t, UnixConn: unix, frames: newFrameReader(unix)}
}

// next reads a frame, which must be of kind k, and copies it.
func (p *peer) next(k kind) frame {
	p.t.Helper()
	f, err := p.frames.next()
	require.NoError(p.t, err)
	require.Equal(p.t, k, f.kind)
	f.payload = append([]byte(nil), f.payload...)
	return f
}

// say sends a frame.
func (p *peer) say(k kind, f flags, id uint32, payload []byte) {
	// The other end may have hung up: a test finds out by what it reads.
	_, _ = p.Write(appendFrame(nil, frame{kind: k, flags: f, id: id, payload: payload}))
}

// hungUp waits for the other end to close the connection.
func (p *peer) hungUp() {
	p.t.Helper()
	for {
		if _, err := p.frames.next(); err != nil {
			var late net.Error
			require.False(p.t, asTimeout(err, &late), "the connection is still open")
			return
		}
	}
}

func asTimeout(err error, into *net.Error) bool {
	late, ok := err.(net.Error) //nolint:errorlint // frameReader does not wrap
	if ok {
		*into = late
	}
	return ok && late.Timeout()
}

// head returns the payload of a head frame: fields are name, value, …
func head(status int, length int64, fields ...string) []byte {
	var encoded []byte
	for _, text := range fields {
		encoded = appendText(encoded, text)
	}
	return appendHead(nil, answerHead{status, length, len(fields) / 2, encoded})
}

// request returns the payload of a small request.
func request(t testing.TB, method, path string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://h"+path, nil)
	require.NoError(t, err)
	payload, err := appendRequest(nil, r, &link.Call{Route: "r", Path: path, Principal: link.Anonymous()}, 0)
	require.NoError(t, err)
	return payload
}

func number(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// actedModule makes a rig whose module is the test: it gets the connections that the core makes, with their prefaces.
func actedModule(t *testing.T) (rig *linktest.Rig, accept func() (*peer, preface)) {
	t.Helper()
	rig = linktest.NewRig(t)
	rig.Client = NewClient(http1.ClientConfig{Socket: rig.Socket, Secret: linktest.Secret(), OnAbort: rig.Aborted})
	rig.Front.Start()
	rig.Front.Client().Timeout = linktest.Patience
	return rig, func() (*peer, preface) {
		c, err := rig.Listener.Accept()
		require.NoError(t, err)
		p := newPeer(t, c)
		greeting, err := readPreface(p, linktest.Secret())
		require.NoError(t, err)
		return p, greeting
	}
}

// actedCore makes a Server whose core is the test.
func actedCore(t *testing.T, handler http.HandlerFunc) (*Server, func(preface) *peer) {
	t.Helper()
	path := linktest.SocketPath(t)
	server := serve(linktest.Listen(t, path), http1.ServerConfig{Secret: linktest.Secret(), Handler: handler}, time.Second)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server, func(greeting preface) *peer {
		c, err := net.Dial("unix", path)
		require.NoError(t, err)
		p := newPeer(t, c)
		_, err = p.Write(greeting.append(nil, linktest.Secret()))
		require.NoError(t, err)
		return p
	}
}

// outcome is what a client sees: its status, or -1 if the connection is cut, and the body.
func outcome(rig *linktest.Rig) string {
	res, err := rig.Front.Client().Do(rig.Request(http.MethodGet, "/", nil))
	if err != nil {
		return "cut"
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "cut"
	}
	return fmt.Sprint(res.StatusCode, " ", string(body))
}

package mux

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link/http1"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

// answer reads the head of an answer that fits into one frame, and its body.
func (p *peer) answer(id uint32) (status int, body string) {
	p.t.Helper()
	f := p.next(kindHead)
	require.Equal(p.t, id, f.id)
	encoded, rest, err := splitHead(f.payload)
	require.NoError(p.t, err)
	t := text{rest: string(encoded)}
	return int(t.number()), string(rest)
}

func TestServerKnowsTheCore(t *testing.T) {
	t.Parallel()
	good := preface{role: roleFrames}.append(nil, linktest.Secret())
	spoil := func(at int, b byte) []byte {
		bad := append([]byte(nil), good...)
		bad[at] = b
		return bad
	}
	for name, test := range map[string]struct {
		secret, greeting []byte
	}{
		"a wrong secret":         {linktest.Secret(), preface{role: roleFrames}.append(nil, []byte("wrong"))},
		"no secret":              {linktest.Secret(), preface{role: roleFrames}.append(nil, nil)},
		"none is configured":     {nil, preface{role: roleFrames}.append(nil, nil)},
		"another magic":          {linktest.Secret(), spoil(3, 'X')},
		"a version to come":      {linktest.Secret(), spoil(len(magic)-1, 2)},
		"no role":                {linktest.Secret(), spoil(len(magic), 0)},
		"a role to come":         {linktest.Secret(), spoil(len(magic), 3)},
		"half a preface":         {linktest.Secret(), good[:20]},
		"only its first byte":    {linktest.Secret(), good[:1]},
		"nothing":                {linktest.Secret(), nil},
		"binary garbage":         {linktest.Secret(), make([]byte, 1000)},
		"a side, a wrong secret": {linktest.Secret(), preface{role: roleSide, side: 1}.append(nil, []byte("wrong"))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := linktest.SocketPath(t)
			server := serve(linktest.Listen(t, path), http1.ServerConfig{Secret: test.secret, Handler: http.HandlerFunc(
				func(http.ResponseWriter, *http.Request) { t.Error("called") })}, 100*time.Millisecond)
			defer server.Close()
			c, err := net.Dial("unix", path)
			require.NoError(t, err)
			p := newPeer(t, c)
			_, _ = p.Write(test.greeting)
			if len(test.greeting) >= prefaceSize {
				p.say(kindRequest, 0, 1, request(t, http.MethodGet, "/"))
			}
			p.hungUp()
		})
	}
}

func TestServerSpeaksPlainHTTPBeside(t *testing.T) {
	t.Parallel()
	_, dial := actedCore(t, func(http.ResponseWriter, *http.Request) { t.Error("called") })
	p := dial(preface{role: roleFrames})
	c, err := net.Dial("unix", p.RemoteAddr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	text, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Contains(t, string(text), "HTTP/1.1 403 Forbidden")
}

// A core that does not keep to the protocol loses its link; the module goes on and serves the next one.
func TestCoreThatMisbehaves(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(p *peer, good []byte){
		"garbage":                func(p *peer, _ []byte) { _, _ = p.Write(make([]byte, 1000)) },
		"a huge frame":           func(p *peer, _ []byte) { _, _ = p.Write(append(number(1<<30), make([]byte, 6)...)) },
		"a frame of the module":  func(p *peer, _ []byte) { p.say(kindHead, 0, 1, head(200, 0)) },
		"a kind of the future":   func(p *peer, _ []byte) { p.say(77, 0, 1, nil) },
		"an empty request":       func(p *peer, _ []byte) { p.say(kindRequest, 0, 1, nil) },
		"half a request":         func(p *peer, good []byte) { p.say(kindRequest, 0, 1, good[:len(good)-1]) },
		"a request, and more":    func(p *peer, good []byte) { p.say(kindRequest, 0, 1, append(good, 'x')) },
		"half a credit":          func(p *peer, _ []byte) { p.say(kindCredit, 0, 1, []byte{0, 0}) },
		"two requests of one id": func(p *peer, good []byte) { p.say(kindRequest, 0, 1, good); p.say(kindRequest, 0, 1, good) },
		"half a frame": func(p *peer, good []byte) {
			_, _ = p.Write(appendFrame(nil, frame{kind: kindRequest, id: 1, payload: good})[:20])
			_ = p.CloseWrite()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, dial := actedCore(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/fine" {
					<-r.Context().Done()
				}
			})
			p := dial(preface{role: roleFrames})
			act(p, request(t, http.MethodGet, "/wait"))
			p.hungUp()
			p = dial(preface{role: roleFrames})
			p.say(kindRequest, 0, 1, request(t, http.MethodGet, "/fine"))
			status, _ := p.answer(1)
			require.Equal(t, http.StatusOK, status)
		})
	}
}

func TestCoreThatIsOddButUnderstood(t *testing.T) {
	t.Parallel()
	server, dial := actedCore(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	p := dial(preface{role: roleFrames})
	for range 1000 {
		p.say(kindCancel, 0, 99, nil)
		p.say(kindCredit, 0, 99, number(1<<32-1))
		p.say(kindSideFree, 0, 99, nil)
		p.say(kindSideFree, flagEnd, 98, nil)
	}
	side := dial(preface{role: roleSide, side: 1, exchange: 99}) // for nobody
	require.Eventually(t, func() bool {
		server.sides.mu.Lock()
		defer server.sides.mu.Unlock()
		return len(server.sides.idle) == 1
	}, linktest.Patience, time.Millisecond)
	p.say(kindRequest, 0, 5, request(t, http.MethodGet, "/"))
	status, body := p.answer(5)
	require.Equal(t, "200 ok", strings.Join([]string{http.StatusText(status)[:0] + "200", body}, " "))
	require.NoError(t, p.Close())
	side.hungUp()
}

func TestTwoLinksAtOnce(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	_, dial := actedCore(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, r.URL.Path)
	})
	first, second := dial(preface{role: roleFrames}), dial(preface{role: roleFrames})
	first.say(kindRequest, 0, 1, request(t, http.MethodGet, "/wait"))
	second.say(kindRequest, 0, 1, request(t, http.MethodGet, "/wait"))
	second.say(kindRequest, 0, 2, request(t, http.MethodGet, "/fine"))
	_, body := second.answer(2)
	require.Equal(t, "/fine", body)
	require.NoError(t, first.Close())
	close(release)
	_, body = second.answer(1)
	require.Equal(t, "/wait", body, "the end of one link does not touch the other's exchanges")
}

// Whatever credit a core grants, a module sends no more than the window.
func TestCreditThatOverflows(t *testing.T) {
	t.Parallel()
	_, dial := actedCore(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, "some text")
			if http.NewResponseController(w).Flush() != nil {
				return
			}
		}
	})
	p := dial(preface{role: roleFrames})
	p.say(kindRequest, 0, 1, request(t, http.MethodGet, "/"))
	for range 100 {
		p.say(kindCredit, 0, 1, number(1<<32-1))
	}
	p.say(kindRequest, 0, 2, request(t, http.MethodHead, "/")) // its answer follows what the first may still send
	require.NoError(t, p.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
	got := 0
	for {
		f, err := p.frames.next()
		if err != nil {
			break
		}
		if f.id == 1 {
			got += len(f.payload)
		}
	}
	require.LessOrEqual(t, got, 2*window+1000)
}

// The side connection of an answer that the core does not want any more is closed, also if the handler has written it all.
func TestSideOfACancelledAnswerIsClosed(t *testing.T) {
	t.Parallel()
	for name, waits := range map[string]bool{"while the handler runs": true, "when it has returned": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			returned := make(chan struct{}, 1)
			server, dial := actedCore(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write(make([]byte, 50<<10))
				_ = http.NewResponseController(w).Flush()
				returned <- struct{}{}
				if waits {
					<-r.Context().Done()
				}
			})
			p := dial(preface{role: roleFrames})
			p.say(kindRequest, 0, 1, request(t, http.MethodGet, "/"))
			require.EqualValues(t, 1, p.next(kindSideWanted).id)
			side := dial(preface{role: roleSide, side: 7, exchange: 1})
			f := p.next(kindHead)
			require.Equal(t, flagSide, f.flags)
			require.EqualValues(t, 7, binary.BigEndian.Uint32(f.payload[len(f.payload)-4:]))
			<-returned
			if !waits {
				require.Eventually(t, func() bool { server.mu.Lock(); defer server.mu.Unlock(); return server.busy == 0 },
					linktest.Patience, time.Millisecond)
			}
			p.say(kindCancel, 0, 1, nil)
			_, err := io.Copy(io.Discard, side)
			require.NoError(t, err)
			server.sides.mu.Lock()
			defer server.sides.mu.Unlock()
			require.Empty(t, server.sides.busy)
			require.Empty(t, server.sides.idle)
		})
	}
}

func TestSideConnectionIsUsedAgain(t *testing.T) {
	t.Parallel()
	_, dial := actedCore(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 50<<10)) })
	p := dial(preface{role: roleFrames})
	p.say(kindRequest, 0, 1, request(t, http.MethodGet, "/"))
	p.next(kindSideWanted)
	side := dial(preface{role: roleSide, side: 7, exchange: 1})
	for id := uint32(1); id < 10; id++ {
		f := p.next(kindHead)
		require.Equal(t, flagSide, f.flags)
		require.EqualValues(t, 7, binary.BigEndian.Uint32(f.payload[len(f.payload)-4:]))
		_, err := io.ReadFull(side, make([]byte, 4+50<<10+5))
		require.NoError(t, err)
		p.say(kindSideFree, 0, 7, nil)
		p.say(kindRequest, 0, id+1, request(t, http.MethodGet, "/"))
	}
}

// A core that cannot make a side connection still gets the answer.
func TestAnswerWithoutASide(t *testing.T) {
	t.Parallel()
	_, dial := actedCore(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 500<<10)) })
	p := dial(preface{role: roleFrames})
	p.say(kindRequest, 0, 1, request(t, http.MethodGet, "/"))
	p.next(kindSideWanted)
	for got := 0; got < 500<<10; {
		f, err := p.frames.next()
		require.NoError(t, err)
		body := f.payload
		switch f.kind {
		case kindHead:
			_, body, err = splitHead(body)
			require.NoError(t, err)
		case kindData:
		default: // it asks for a side connection again
			body = nil
		}
		got += len(body)
		p.say(kindCredit, 0, 1, number(uint32(len(body))))
	}
}

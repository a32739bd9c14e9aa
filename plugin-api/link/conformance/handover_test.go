package conformance

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

// taken is what a handler does with a connection that it has upgraded.
type taken func(conn net.Conn, buffered *bufio.ReadWriter)

// waysToSwitch are those in which handlers answer 101: with net/http's help, or by hand, with what they say first.
func waysToSwitch(then taken) map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"WriteHeader": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "test")
			w.WriteHeader(http.StatusSwitchingProtocols)
			conn, buffered, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "early")
			then(conn, buffered)
		},
		"Hijack": func(w http.ResponseWriter, _ *http.Request) {
			conn, buffered, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgr")
			_, _ = io.WriteString(conn, "ade\r\nUpgrade: test\r\n\r\nearly")
			then(conn, buffered)
		},
	}
}

// eachSwitch runs a test for each way to switch, tunnelled and handed over. The test gets what makes a rig.
func eachSwitch(test func(t *testing.T, serve func(taken) *linktest.Rig)) func(*testing.T, transport) {
	return bothWays(func(t *testing.T, on transport, way option) {
		for name := range waysToSwitch(nil) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, func(then taken) *linktest.Rig { return on.module(t, waysToSwitch(then)[name], way) })
			})
		}
	})
}

// open asks for the protocol "test" and reads the head of the answer. What is sent with the request is early.
func open(t *testing.T, rig *linktest.Rig, early string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c := rig.Dial()
	_, err := io.WriteString(c, switchRequest+early)
	require.NoError(t, err)
	reader := bufio.NewReader(c)
	res, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	res.Header.Del("Date")
	require.Equal(t, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"test"}}, res.Header)
	said := make([]byte, len("early"))
	_, err = io.ReadFull(reader, said)
	require.NoError(t, err)
	require.Equal(t, "early", string(said))
	return c, reader
}

// shout echoes in capitals all that comes until the client has ended.
func shout(conn net.Conn, buffered *bufio.ReadWriter) {
	all, _ := io.ReadAll(buffered)
	_, _ = conn.Write(bytes.ToUpper(all))
}

func TestUpgradeLosesNothingThatIsEarly(t *testing.T) {
	each(t, eachSwitch(func(t *testing.T, serve func(taken) *linktest.Rig) {
		rig := serve(shout)
		for _, early := range []string{"", "x", strings.Repeat("e", 3000), strings.Repeat("e", 100_000)} {
			c, reader := open(t, rig, early)
			_, err := io.WriteString(c, "later")
			require.NoError(t, err)
			require.NoError(t, linktest.HalfClose(c))
			all, err := io.ReadAll(reader)
			require.NoError(t, err)
			require.Equal(t, strings.ToUpper(early)+"LATER", string(all))
			require.NoError(t, c.Close())
		}
	}))
}

func TestUpgradeHalfCloseOfTheModule(t *testing.T) {
	each(t, eachSwitch(func(t *testing.T, serve func(taken) *linktest.Rig) {
		got := make(chan string, 1)
		rig := serve(func(conn net.Conn, buffered *bufio.ReadWriter) {
			_ = linktest.HalfClose(conn)
			all, _ := io.ReadAll(buffered)
			got <- string(all)
		})
		c, reader := open(t, rig, "")
		all, err := io.ReadAll(reader)
		require.NoError(t, err)
		require.Empty(t, all)
		_, err = io.WriteString(c, "still heard")
		require.NoError(t, err)
		require.NoError(t, linktest.HalfClose(c))
		require.Equal(t, "still heard", <-got)
		require.NoError(t, rig.Result())
	}))
}

func TestUpgradeEndsForBothWithTheContext(t *testing.T) {
	each(t, eachSwitch(func(t *testing.T, serve func(taken) *linktest.Rig) {
		ended := make(chan struct{})
		rig := serve(func(_ net.Conn, buffered *bufio.ReadWriter) {
			_, _ = io.Copy(io.Discard, buffered)
			close(ended)
		})
		drain := make(chan context.CancelFunc, 1)
		rig.Wrap = linktest.WithCancel(drain)
		_, reader := open(t, rig, "")
		began := time.Now()
		(<-drain)()
		_, err := io.ReadAll(reader)
		require.NoError(t, err)
		<-ended
		require.NoError(t, rig.Result())
		require.Less(t, time.Since(began), linktest.Patience/2)
	}))
}

func TestUpgradeEndsWithAClientThatResets(t *testing.T) {
	each(t, eachSwitch(func(t *testing.T, serve func(taken) *linktest.Rig) {
		rig := serve(func(conn net.Conn, _ *bufio.ReadWriter) { _, _ = io.Copy(conn, linktest.Zeros{}) })
		c, _ := open(t, rig, "")
		tcp, ok := c.(*net.TCPConn)
		require.True(t, ok)
		require.NoError(t, tcp.SetLinger(0))
		require.NoError(t, c.Close())
		require.NoError(t, rig.Result())
	}))
}

// TestUpgradeKeepsDeadlines that were set before the answer.
func TestUpgradeKeepsDeadlines(t *testing.T) {
	each(t, bothWays(func(t *testing.T, on transport, way option) {
		got := make(chan error, 2)
		rig := on.module(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\nearly")
			_, err = conn.Read(make([]byte, 1))
			got <- err
			_ = conn.SetDeadline(time.Unix(1, 0))
			_, err = conn.Write([]byte("x"))
			got <- err
		}, way)
		open(t, rig, "")
		require.ErrorIs(t, <-got, os.ErrDeadlineExceeded)
		require.ErrorIs(t, <-got, os.ErrDeadlineExceeded)
	}))
}

// TestHandedOverBytesDoNotPassTheCore counts what does.
func TestHandedOverBytesDoNotPassTheCore(t *testing.T) {
	each(t, func(t *testing.T, on transport) {
		for name, handler := range waysToSwitch(shout) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var passed atomic.Int64
				rig := on.module(t, handler, lent)
				rig.Wrap = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
					return &countingHijacker{w, &passed}, r, func() {}
				}
				c, reader := open(t, rig, "")
				sent := strings.Repeat("x", 1<<20)
				go func() { _, _ = io.WriteString(c, sent); _ = linktest.HalfClose(c) }()
				all, err := io.ReadAll(reader)
				require.NoError(t, err)
				require.Equal(t, strings.ToUpper(sent), string(all))
				require.NoError(t, rig.Result())
				require.Less(t, passed.Load(), int64(1000), "more than the head of the answer")
				require.NotZero(t, passed.Load())
			})
		}
	})
}

// countingHijacker counts what is read and written on the connection once it is hijacked.
type countingHijacker struct {
	http.ResponseWriter
	passed *atomic.Int64
}

func (h *countingHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	counted := &countingConn{conn, h.passed}
	buffered.Writer.Reset(counted)
	return counted, buffered, nil
}

type countingConn struct {
	net.Conn
	passed *atomic.Int64
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.passed.Add(int64(n))
	return n, err
}

func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.passed.Add(int64(n))
	return n, err
}

// TestHandedOverAddresses are the client's, where a tunnel shows the core's socket.
func TestHandedOverAddresses(t *testing.T) {
	each(t, func(t *testing.T, on transport) {
		addrs := make(chan net.Addr, 2)
		rig := on.module(t, waysToSwitch(func(conn net.Conn, _ *bufio.ReadWriter) {
			addrs <- conn.RemoteAddr()
			addrs <- conn.LocalAddr()
		})["Hijack"], lent)
		c, _ := open(t, rig, "")
		require.Equal(t, c.LocalAddr().String(), (<-addrs).String())
		require.Equal(t, c.RemoteAddr().String(), (<-addrs).String())
	})
}

// TestUpgradeCarriesBothDirectionsAtOnce: libraries read and write in goroutines of their own.
func TestUpgradeCarriesBothDirectionsAtOnce(t *testing.T) {
	each(t, bothWays(func(t *testing.T, on transport, way option) {
		const messages = 200
		rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer func() { _ = c.CloseNow() }()
			if converse(r.Context(), c, messages) == nil {
				_ = c.Close(websocket.StatusNormalClosure, "")
			}
		}, way)
		c, _, err := websocket.Dial(t.Context(), rig.Front.URL, nil)
		require.NoError(t, err)
		defer func() { _ = c.CloseNow() }()
		go speak(t.Context(), c, messages)
		for range 2 * messages {
			_, _, err := c.Read(t.Context())
			require.NoError(t, err)
		}
		_, _, err = c.Read(t.Context())
		require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(err))
		require.NoError(t, rig.Result())
	}))
}

// converse listens to as many messages while two speak.
func converse(ctx context.Context, c *websocket.Conn, messages int) error {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { speak(ctx, c, messages) })
	group.Go(func() { speak(ctx, c, messages) })
	for range messages {
		if _, _, err := c.Read(ctx); err != nil {
			return err
		}
	}
	return nil
}

func speak(ctx context.Context, c *websocket.Conn, messages int) {
	for range messages {
		if c.Write(ctx, websocket.MessageText, []byte("message")) != nil {
			return
		}
	}
}

// TestDeclinedOfferLeavesTheConnectionAlone, whatever the answers' bodies look like.
func TestDeclinedOfferLeavesTheConnectionAlone(t *testing.T) {
	each(t, func(t *testing.T, on transport) {
		body := "HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n" + strings.Repeat("x", 10_000)
		rig := on.module(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "<a>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("Large", strings.Repeat("y", 10_000))
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.WriteHeader(http.StatusUpgradeRequired)
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, body)
		}, lent)
		for range 3 {
			res, got := rig.Do(http.MethodGet, "/", nil, func(r *http.Request) {
				r.Header.Set("Connection", "Upgrade")
				r.Header.Set("Upgrade", "test")
			})
			require.Equal(t, http.StatusUpgradeRequired, res.StatusCode)
			require.Equal(t, body, got)
		}
		require.EqualValues(t, 1, rig.Listener.Accepted.Load())
	})
}

// TestUpgradesLeaveNoDescriptors, whoever ends them.
func TestUpgradesLeaveNoDescriptors(t *testing.T) {
	alone(t, func(t *testing.T, on transport) {
		for name, way := range map[string]option{"tunnelled": upgradable, "handed over": lent} {
			t.Run(name, func(t *testing.T) {
				drain := make(chan context.CancelFunc, 1)
				rig := on.module(t, echoSocket, way)
				rig.Wrap = linktest.WithCancel(drain)
				before := descriptors(t)
				for i := range 1000 {
					c, _, err := websocket.Dial(t.Context(), rig.Front.URL, nil)
					require.NoError(t, err)
					cancel := <-drain
					switch i % 3 {
					case 0:
						require.NoError(t, c.Close(websocket.StatusNormalClosure, ""))
					case 1:
						cancel()
					}
					_ = c.CloseNow()
				}
				require.Eventually(t, func() bool { return len(rig.Results()) == 1000 && descriptors(t) <= before+4 },
					linktest.Patience, 10*time.Millisecond)
			})
		}
	})
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("the system does not list descriptors")
	}
	return len(open)
}

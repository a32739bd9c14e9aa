package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

func lending(r *rig, config *ClientConfig) { upgradable(r, config); r.Lend() }

const takingAnswer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\nPlatformd-Handover: 1\r\n\r\n"

// taker is a module that asks for the client's socket.
func taker(t *testing.T, take func(c *peer, r *http.Request), options ...func(*rig, *ClientConfig)) *rig {
	t.Helper()
	return scriptModule(t, func(c *peer, r *http.Request) {
		_, _ = io.WriteString(c, takingAnswer)
		take(c, r)
	}, options...)
}

// receiveSocket waits for the client's socket as a module does that has no SDK, and returns what came before it.
func receiveSocket(c *peer) (before string, socket *net.TCPConn, err error) {
	unix, ok := c.Conn.(*net.UnixConn)
	if !ok {
		return "", nil, errors.New("no unix connection")
	}
	buf, oob := make([]byte, 10), make([]byte, syscall.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.ReadMsgUnix(buf, oob)
		if err != nil {
			return before, nil, err
		}
		before += string(buf[:n])
		if oobn > 0 {
			socket, err := socketFrom(oob[:oobn])
			return before, socket, err
		}
	}
}

func switchOn(t *testing.T, rig *rig, early string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c := rig.Dial()
	_, err := io.WriteString(c, switchRequest+early)
	require.NoError(t, err)
	reader := bufio.NewReader(c)
	res, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	require.Equal(t, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"test"}}, res.Header)
	return c, reader
}

// TestHandoverOnTheWire is what modules in other languages may rely on.
func TestHandoverOnTheWire(t *testing.T) {
	t.Parallel()
	rig := taker(t, func(c *peer, r *http.Request) {
		if r.Header.Get("Platformd-Handover") != "1" {
			return
		}
		before, socket, err := receiveSocket(c)
		if err != nil {
			return
		}
		defer socket.Close()
		_, _ = io.WriteString(socket, before+".")
	}, lending)
	_, reader := switchOn(t, rig, "sent with the head")
	all, err := io.ReadAll(reader)
	require.NoError(t, err)
	require.Equal(t, "sent with the head\x00.", string(all))
	require.NoError(t, rig.Result())
}

// TestHandoverEndsForWhoeverHoldsTheSocket, though the module keeps its copy, or never received it.
func TestHandoverEndsForWhoeverHoldsTheSocket(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(c *peer, cancel func()){
		"the module hangs up":           func(c *peer, _ func()) { _ = c.Close() },
		"the module speaks to the core": func(c *peer, _ func()) { _, _ = io.WriteString(c, "x"); _, _ = io.Copy(io.Discard, c) },
		"the context ends":              func(c *peer, cancel func()) { cancel(); _, _ = io.Copy(io.Discard, c) },
	} {
		for _, received := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				heard, opened := make(chan error, 1), make(chan struct{})
				drain := make(chan context.CancelFunc, 1)
				rig := taker(t, func(c *peer, _ *http.Request) {
					if !received {
						<-opened
						end(c, <-drain)
						return
					}
					_, socket, err := receiveSocket(c)
					if err != nil {
						heard <- err
						return
					}
					defer socket.Close()
					<-opened
					end(c, <-drain)
					_, err = socket.Read(make([]byte, 1))
					heard <- err
				}, lending)
				rig.Wrap = linktest.WithCancel(drain)
				_, reader := switchOn(t, rig, "")
				close(opened)
				_, err := reader.ReadByte()
				require.ErrorIs(t, err, io.EOF)
				if received {
					require.ErrorIs(t, <-heard, io.EOF)
				}
				require.NoError(t, rig.Result())
			})
		}
	}
}

// TestHandoverOfASocketThatCannotBeHad cuts: the module waits for one.
func TestHandoverOfASocketThatCannotBeHad(t *testing.T) {
	t.Parallel()
	rig := taker(t, func(c *peer, _ *http.Request) { _, _ = io.Copy(io.Discard, c) }, lending,
		func(r *rig, _ *ClientConfig) {
			r.Front.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
				return link.WithSocket(ctx, func() (*net.TCPConn, error) { return nil, os.ErrInvalid })
			}
		})
	_, reader := switchOn(t, rig, "")
	_, err := reader.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, rig.Result())
}

// TestHandoverThatNobodyOffered is a tunnel.
func TestHandoverThatNobodyOffered(t *testing.T) {
	t.Parallel()
	offers := make(chan string, 1)
	rig := taker(t, func(c *peer, r *http.Request) {
		offers <- r.Header.Get("Platformd-Handover")
		_, _ = io.Copy(c, c)
	}, upgradable)
	c, reader := switchOn(t, rig, "")
	_, err := io.WriteString(c, "x")
	require.NoError(t, err)
	echo, err := reader.ReadByte()
	require.NoError(t, err)
	require.Equal(t, byte('x'), echo)
	require.Empty(t, <-offers)
}

// pair returns a module's end of a connection, and the core's.
func pair(t *testing.T) (module *serverConn, core *net.UnixConn) {
	t.Helper()
	ln := serverListener{linktest.Listen(t, linktest.SocketPath(t))}
	dialled, err := net.Dial("unix", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = dialled.Close() })
	accepted, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = accepted.Close() })
	module, isModule := accepted.(*serverConn)
	core, isCore := dialled.(*net.UnixConn)
	require.True(t, isModule && isCore)
	require.NoError(t, module.SetDeadline(time.Now().Add(linktest.Patience)))
	return module, core
}

// TestServerConnRefusesDescriptors that it has not asked for, or cannot use, and keeps none of them.
func TestServerConnRefusesDescriptors(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcp.Close()
	client, err := net.Dial("tcp", tcp.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	for name, test := range map[string]struct {
		offered, closed bool
		of              any
		copies          int
	}{
		"not offered":       {of: client, copies: 1},
		"no TCP connection": {offered: true, of: udp, copies: 1},
		"a file":            {offered: true, of: os.Stdin, copies: 1},
		"two files":         {offered: true, of: os.Stdin, copies: 2},
		"closed before":     {offered: true, closed: true, of: client, copies: 1},
	} {
		t.Run(name, func(t *testing.T) {
			module, core := pair(t)
			before := descriptors(t)
			module.offered.Store(test.offered)
			module.closed = test.closed
			sendCopies(t, core, test.of, test.copies)
			_, err := module.Read(make([]byte, 10))
			require.Error(t, err)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			require.Equal(t, before, descriptors(t))
		})
	}
}

// TestServerConnTakesOneOfTwo descriptors, and does not keep the other.
func TestServerConnTakesOneOfTwo(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcp.Close()
	client, err := net.Dial("tcp", tcp.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	served, err := tcp.Accept()
	require.NoError(t, err)
	defer served.Close()
	module, core := pair(t)
	before := descriptors(t)
	module.offered.Store(true)
	_, err = io.WriteString(core, "early")
	require.NoError(t, err)
	sendCopies(t, core, client, 2)
	_, err = io.WriteString(served, "late")
	require.NoError(t, err)
	got := make([]byte, len("earlylate"))
	_, err = io.ReadFull(module, got)
	require.NoError(t, err)
	require.Equal(t, "earlylate", string(got))
	require.Equal(t, before+1, descriptors(t))
	require.NoError(t, module.Close())
	require.Equal(t, before-1, descriptors(t))
}

// sendCopies sends a byte that carries the descriptor of a file or connection so many times.
func sendCopies(t *testing.T, core *net.UnixConn, of any, copies int) {
	t.Helper()
	owner, ok := of.(syscall.Conn)
	require.True(t, ok)
	raw, err := owner.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		fds := make([]int, copies)
		for i := range fds {
			fds[i] = int(fd)
		}
		_, _, err = core.WriteMsgUnix([]byte{0}, syscall.UnixRights(fds...), nil)
	}))
	require.NoError(t, err)
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("the system does not list descriptors")
	}
	return len(open)
}

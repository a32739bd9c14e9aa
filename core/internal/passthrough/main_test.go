package passthrough_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/platformd/platformd/core/internal/passthrough"
)

func TestMain(m *testing.M) {
	if os.Getenv(envRole) != "" {
		playRole()
		return
	}
	goleak.VerifyTestMain(m)
}

// echo is a service of all four kinds; its messages are bytes.
type echo struct {
	unary  func(ctx context.Context, in []byte) ([]byte, error)
	stream func(s grpc.ServerStream) error
}

type bytesValue = wrapperspb.BytesValue

const (
	unaryMethod = "/test.Echo/Unary"
	bidiMethod  = "/test.Echo/Bidi"
)

// desc is what a generated file would hold.
func (e *echo) desc() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "test.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(_ any, ctx context.Context, decode func(any) error,
			_ grpc.UnaryServerInterceptor,
		) (any, error) {
			in := new(bytesValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			out, err := e.unary(ctx, in.GetValue())
			return wrapperspb.Bytes(out), err
		}}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Bidi", ServerStreams: true, ClientStreams: true,
				Handler: func(_ any, s grpc.ServerStream) error { return e.stream(s) }},
		},
	}
}

// echoes sends back what it receives.
func echoes() *echo {
	return &echo{
		unary: func(_ context.Context, in []byte) ([]byte, error) { return in, nil },
		stream: func(s grpc.ServerStream) error {
			for {
				in := new(bytesValue)
				if err := s.RecvMsg(in); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
				if err := s.SendMsg(in); err != nil {
					return err
				}
			}
		},
	}
}

func call(ctx context.Context, conn *grpc.ClientConn, in []byte, options ...grpc.CallOption) ([]byte, error) {
	out := new(bytesValue)
	err := conn.Invoke(ctx, unaryMethod, wrapperspb.Bytes(in), out, options...)
	return out.GetValue(), err
}

func open(ctx context.Context, t testing.TB, conn *grpc.ClientConn) grpc.ClientStream {
	t.Helper()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, bidiMethod)
	require.NoError(t, err)
	return s
}

func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pt") // t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func listen(t testing.TB, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(t, err)
	return l
}

func dialUnix(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path})
	require.NoError(t, err)
	return c
}

// serveGRPC runs a callee until the end of the test.
func serveGRPC(t testing.TB, e *echo, options ...grpc.ServerOption) (path string, server *grpc.Server) {
	t.Helper()
	path = filepath.Join(socketDir(t), "callee")
	l := listen(t, path)
	server = grpc.NewServer(append(options, grpc.MaxRecvMsgSize(64<<20))...)
	server.RegisterService(e.desc(), nil)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return path, server
}

// connect makes a Client of ours.
func connect(t testing.TB, path string) *passthrough.Client {
	t.Helper()
	client, err := passthrough.NewClient(dialUnix(t, path))
	require.NoError(t, err)
	done := make(chan struct{})
	go func() { defer close(done); _ = client.Run() }()
	t.Cleanup(func() { client.Close(); <-done })
	return client
}

// route is a Handler made of functions; it records what it hears.
type route struct {
	begin  func(c *passthrough.Call) passthrough.Next
	broken func(c *passthrough.Call, attempt any, why passthrough.Break) passthrough.Next

	mu       sync.Mutex
	outcomes []passthrough.Outcome
	attempts []any
	done     chan struct{}
}

// straight forwards everything to one callee.
func straight(to *passthrough.Client) *route {
	r := newRoute()
	r.begin = func(c *passthrough.Call) passthrough.Next {
		return passthrough.Next{To: to, Header: c.Header, Attempt: "first"}
	}
	return r
}

func newRoute() *route {
	return &route{
		done: make(chan struct{}, 10_000),
		broken: func(_ *passthrough.Call, _ any, why passthrough.Break) passthrough.Next {
			return passthrough.Next{Code: why.Code(), Message: why.String()}
		},
	}
}

// Begin implements passthrough.Handler.
func (r *route) Begin(c *passthrough.Call) passthrough.Next { return r.begin(c) }

// Broken implements passthrough.Handler.
func (r *route) Broken(c *passthrough.Call, attempt any, why passthrough.Break) passthrough.Next {
	return r.broken(c, attempt, why)
}

// Done implements passthrough.Handler.
func (r *route) Done(_ *passthrough.Call, attempt any, outcome passthrough.Outcome) {
	r.mu.Lock()
	r.outcomes = append(r.outcomes, outcome)
	r.attempts = append(r.attempts, attempt)
	r.mu.Unlock()
	select {
	case r.done <- struct{}{}:
	default:
	}
}

// outcome waits for the next call to be over.
func (r *route) outcome(t testing.TB) passthrough.Outcome {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(10 * time.Second):
		t.Fatal("no call has ended")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.outcomes[len(r.outcomes)-1]
}

var usual = passthrough.Limits{Streams: 512, Conns: 4}

// serve runs a Server until the end of the test, and returns where.
func serve(t testing.TB, h passthrough.Handler, limits passthrough.Limits) string {
	t.Helper()
	path := filepath.Join(socketDir(t), "caller")
	l := listen(t, path)
	server := passthrough.NewServer(h, limits)
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(l, nil) }()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return path
}

// dial is a caller of grpc-go's.
func dial(t testing.TB, path string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+path, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)), grpc.WithDisableServiceConfig())...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// through is a caller whose calls pass to a callee.
func through(t testing.TB, e *echo) (*grpc.ClientConn, *route) {
	t.Helper()
	path, _ := serveGRPC(t, e)
	r := straight(connect(t, path))
	return dial(t, serve(t, r, usual)), r
}

func ok(code codes.Code) passthrough.Outcome { return passthrough.Outcome{Code: code, ByCallee: true} }

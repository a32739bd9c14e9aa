package passthrough_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/platformd/platformd/core/internal/passthrough"
)

func TestTheCoreCanAnswer(t *testing.T) {
	r := newRoute()
	r.begin = func(c *passthrough.Call) passthrough.Next {
		if c.Path == bidiMethod {
			go c.Go(passthrough.Next{Code: codes.Unavailable, Message: "later"})
			return passthrough.Next{Later: true}
		}
		return passthrough.Next{Code: codes.PermissionDenied, Message: "no: 100% \"déjà\"\n(fix: …)"}
	}
	conn := dial(t, serve(t, r, usual))
	_, err := call(t.Context(), conn, make([]byte, 1<<20))
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	require.Equal(t, "no: 100% \"déjà\"\n(fix: …)", status.Convert(err).Message())
	s := open(t.Context(), t, conn)
	require.Equal(t, codes.Unavailable, status.Code(s.RecvMsg(new(bytesValue))))
}

// A decision that takes its time keeps what the caller sends meanwhile.
func TestALateDecisionLosesNothing(t *testing.T) {
	path, _ := serveGRPC(t, echoes())
	to := connect(t, path)
	r := newRoute()
	r.begin = func(c *passthrough.Call) passthrough.Next {
		go func() {
			select {
			case <-time.After(100 * time.Millisecond):
				c.Go(passthrough.Next{To: to, Header: c.Header})
			case <-c.Context().Done():
			}
		}()
		return passthrough.Next{Later: true}
	}
	conn := dial(t, serve(t, r, usual))
	in := make([]byte, 3<<20)
	_, _ = rand.Read(in)
	out, err := call(t.Context(), conn, in)
	require.NoError(t, err)
	require.True(t, bytes.Equal(in, out))
}

func TestAnAttemptThatBrokeBeginsAgainElsewhere(t *testing.T) {
	for _, size := range []int{10, passthrough.Keep - 100} {
		dying := echoes()
		path, server := serveGRPC(t, dying)
		dying.unary = func(ctx context.Context, _ []byte) ([]byte, error) {
			go server.Stop()
			<-ctx.Done()
			return nil, ctx.Err()
		}
		second, _ := serveGRPC(t, echoes())
		r := straight(connect(t, path))
		to := connect(t, second)
		r.broken = func(c *passthrough.Call, attempt any, why passthrough.Break) passthrough.Next {
			require.Equal(t, "first", attempt)
			require.True(t, why.Kept)
			require.True(t, why.Lost)
			require.False(t, why.Unprocessed)
			return passthrough.Next{To: to, Header: c.Header, Attempt: "second"}
		}
		in := make([]byte, size)
		_, _ = rand.Read(in)
		out, err := call(t.Context(), dial(t, serve(t, r, usual)), in)
		require.NoError(t, err)
		require.True(t, bytes.Equal(in, out))
		require.Equal(t, ok(codes.OK), r.outcome(t))
		require.Equal(t, []any{"second"}, r.attempts)
	}
}

func TestALargeRequestIsNotKept(t *testing.T) {
	dying := echoes()
	path, server := serveGRPC(t, dying)
	dying.unary = func(ctx context.Context, _ []byte) ([]byte, error) {
		go server.Stop()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r := straight(connect(t, path))
	kept := make(chan bool, 1)
	broken := r.broken
	r.broken = func(c *passthrough.Call, attempt any, why passthrough.Break) passthrough.Next {
		kept <- why.Kept
		return broken(c, attempt, why)
	}
	_, err := call(t.Context(), dial(t, serve(t, r, usual)), make([]byte, 2*passthrough.Keep))
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.False(t, <-kept)
}

func TestABrokenAnswerIsUnavailable(t *testing.T) {
	e := echoes()
	path, server := serveGRPC(t, e)
	r := straight(connect(t, path))
	s := open(t.Context(), t, dial(t, serve(t, r, usual)))
	require.NoError(t, s.SendMsg(wrapperspb.Bytes([]byte("hello"))))
	require.NoError(t, s.RecvMsg(new(bytesValue)))
	server.Stop()
	err := s.RecvMsg(new(bytesValue))
	require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	require.Equal(t, codes.Unavailable, r.outcome(t).Code)
}

// A callee that goes in good order finishes what it has, and what comes later is told to go elsewhere.
func TestGoAwayLetsCallsFinish(t *testing.T) {
	e := echoes()
	path, server := serveGRPC(t, e)
	to := connect(t, path)
	r := straight(to)
	conn := dial(t, serve(t, r, usual))
	s := open(t.Context(), t, conn)
	require.NoError(t, s.SendMsg(wrapperspb.Bytes([]byte("one"))))
	require.NoError(t, s.RecvMsg(new(bytesValue)))
	stopped := make(chan struct{})
	go func() { server.GracefulStop(); close(stopped) }()
	require.Eventually(t, func() bool { return !to.Usable() }, 5*time.Second, time.Millisecond)
	require.NoError(t, s.SendMsg(wrapperspb.Bytes([]byte("two"))))
	require.NoError(t, s.RecvMsg(new(bytesValue)))

	whys := make(chan passthrough.Break, 1)
	r.broken = func(_ *passthrough.Call, _ any, why passthrough.Break) passthrough.Next {
		whys <- why
		return passthrough.Next{Code: codes.Unavailable, Message: "elsewhere"}
	}
	_, err := call(t.Context(), conn, nil)
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.True(t, (<-whys).Unprocessed)
	require.NoError(t, s.CloseSend())
	require.ErrorIs(t, s.RecvMsg(new(bytesValue)), io.EOF)
	<-stopped
}

// A caller that stops sending half-way, since it has its answer, is no error.
func TestAnAnswerBeforeTheEndOfTheRequest(t *testing.T) {
	e := echoes()
	e.stream = func(grpc.ServerStream) error { return status.Error(codes.AlreadyExists, "enough") }
	conn, r := through(t, e)
	s := open(t.Context(), t, conn)
	var err error
	for err == nil {
		err = s.SendMsg(wrapperspb.Bytes(make([]byte, 1<<10)))
	}
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, codes.AlreadyExists, status.Code(s.RecvMsg(new(bytesValue))))
	require.Equal(t, ok(codes.AlreadyExists), r.outcome(t))
}

func TestManyCallsAtOnce(t *testing.T) {
	conn, _ := through(t, echoes())
	failed := make(chan error, 400)
	for i := range 400 {
		go func() {
			in := bytes.Repeat([]byte{byte(i)}, i*97)
			out, err := call(t.Context(), conn, in)
			if err == nil && !bytes.Equal(in, out) {
				err = errors.New("another call's answer")
			}
			failed <- err
		}()
	}
	for range 400 {
		require.NoError(t, <-failed)
	}
}

func TestHeadersHaveALimit(t *testing.T) {
	e := echoes()
	e.unary = func(ctx context.Context, in []byte) ([]byte, error) {
		return in, grpc.SendHeader(ctx, metadata.Pairs("big", strings.Repeat("b", len(in))))
	}
	conn, _ := through(t, e)
	big := func(n int) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), "big", strings.Repeat("a", n))
	}
	_, err := call(big(30<<10), conn, make([]byte, 30<<10))
	require.NoError(t, err)
	_, err = call(big(33<<10), conn, nil)
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	_, err = call(t.Context(), conn, make([]byte, 33<<10))
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	_, err = call(t.Context(), conn, nil) // the connection is as it was
	require.NoError(t, err)
}

package passthrough_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/platformd/platformd/core/internal/passthrough"
)

func TestUnaryArrivesWhole(t *testing.T) {
	conn, r := through(t, echoes())
	for _, size := range []int{0, 1, 1000, 16 << 10, 64 << 10, 1 << 20, 20 << 20} {
		in := make([]byte, size)
		_, _ = rand.Read(in)
		out, err := call(t.Context(), conn, in)
		require.NoError(t, err)
		require.True(t, bytes.Equal(in, out), "%d bytes", size)
		require.Equal(t, ok(codes.OK), r.outcome(t))
	}
}

// The streams of all three kinds are the same to frames: what differs is who sends how many messages.
func TestStreamsPassMessagesAsTheyCome(t *testing.T) {
	conn, r := through(t, echoes())
	s := open(t.Context(), t, conn)
	for i := range 100 { // each is answered before the next is sent
		require.NoError(t, s.SendMsg(wrapperspb.Bytes([]byte{byte(i)})))
		out := new(bytesValue)
		require.NoError(t, s.RecvMsg(out))
		require.Equal(t, []byte{byte(i)}, out.GetValue())
	}
	require.NoError(t, s.CloseSend())
	require.ErrorIs(t, s.RecvMsg(new(bytesValue)), io.EOF)
	require.Equal(t, ok(codes.OK), r.outcome(t))
}

func TestLargeStreamsBothWaysAtOnce(t *testing.T) {
	conn, _ := through(t, echoes())
	s := open(t.Context(), t, conn)
	const messages, size = 48, 1 << 20
	sent, received := sha256.New(), sha256.New()
	failed := make(chan error, 1)
	go func() {
		for range messages {
			block := make([]byte, size)
			_, _ = rand.Read(block)
			sent.Write(block)
			if err := s.SendMsg(wrapperspb.Bytes(block)); err != nil {
				failed <- err
				return
			}
		}
		failed <- s.CloseSend()
	}()
	for range messages {
		out := new(bytesValue)
		require.NoError(t, s.RecvMsg(out))
		received.Write(out.GetValue())
	}
	require.NoError(t, <-failed)
	require.ErrorIs(t, s.RecvMsg(new(bytesValue)), io.EOF)
	require.Equal(t, sent.Sum(nil), received.Sum(nil))
}

// A callee that does not read stops its caller, and nobody else.
func TestBackpressureStopsOnlyTheStreamThatIsNotRead(t *testing.T) {
	release := make(chan struct{})
	e := echoes()
	reads := e.stream
	e.stream = func(s grpc.ServerStream) error {
		if len(metadata.ValueFromIncomingContext(s.Context(), "slow")) > 0 {
			<-release
		}
		return reads(s)
	}
	conn, _ := through(t, e)
	slow := open(metadata.AppendToOutgoingContext(t.Context(), "slow", "yes"), t, conn)
	var sent atomic.Int64
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for range 64 {
			if slow.SendMsg(wrapperspb.Bytes(make([]byte, 1<<20))) != nil {
				return
			}
			sent.Add(1)
		}
	}()
	var before int64 = -1
	require.Eventually(t, func() bool { // it has come to rest
		now := sent.Load()
		rested := now == before
		before = now
		return rested
	}, 10*time.Second, 200*time.Millisecond)
	require.Less(t, sent.Load(), int64(10), "MiB that nobody reads")

	for range 20 { // others go on
		in := make([]byte, 1<<20)
		out, err := call(t.Context(), conn, in)
		require.NoError(t, err)
		require.Len(t, out, len(in))
	}
	close(release)
	for range 64 {
		require.NoError(t, slow.RecvMsg(new(bytesValue)))
	}
	<-stopped
}

// And the other way round: a caller that does not read stops its callee.
func TestBackpressureStopsTheCallee(t *testing.T) {
	var sent atomic.Int64
	e := echoes()
	e.stream = func(s grpc.ServerStream) error {
		for range 64 {
			if err := s.SendMsg(wrapperspb.Bytes(make([]byte, 1<<20))); err != nil {
				return err
			}
			sent.Add(1)
		}
		return nil
	}
	conn, _ := through(t, e)
	slow := open(t.Context(), t, conn)
	var before int64 = -1
	require.Eventually(t, func() bool {
		now := sent.Load()
		rested := now == before
		before = now
		return rested
	}, 10*time.Second, 200*time.Millisecond)
	require.Less(t, sent.Load(), int64(10))
	out, err := call(t.Context(), conn, make([]byte, 2<<20))
	require.NoError(t, err)
	require.Len(t, out, 2<<20)
	for range 64 {
		require.NoError(t, slow.RecvMsg(new(bytesValue)))
	}
	require.ErrorIs(t, slow.RecvMsg(new(bytesValue)), io.EOF)
}

func TestMetadataTrailersAndDetailsArrive(t *testing.T) {
	e := echoes()
	e.unary = func(ctx context.Context, _ []byte) ([]byte, error) {
		in, _ := metadata.FromIncomingContext(ctx)
		if err := grpc.SendHeader(ctx, metadata.Pairs("x-first", in.Get("x-ask")[0], "x-bin", in.Get("x-bin")[0])); err != nil {
			return nil, err
		}
		if err := grpc.SetTrailer(ctx, metadata.Pairs("x-last", "déjà vu")); err != nil {
			return nil, err
		}
		refused, err := status.New(codes.FailedPrecondition, "not: 100% déjà\n").WithDetails(&errdetails.ErrorInfo{Reason: "why"})
		if err != nil {
			return nil, err
		}
		return nil, refused.Err()
	}
	conn, r := through(t, e)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-ask", "a", "x-ask", "b", "x-bin", string([]byte{0, 1, 255}),
		"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	var header, trailer metadata.MD
	_, err := call(ctx, conn, nil, grpc.Header(&header), grpc.Trailer(&trailer))
	got := status.Convert(err)
	require.Equal(t, codes.FailedPrecondition, got.Code())
	require.Equal(t, "not: 100% déjà\n", got.Message())
	require.Len(t, got.Details(), 1)
	info, isInfo := got.Details()[0].(*errdetails.ErrorInfo)
	require.True(t, isInfo)
	require.Equal(t, "why", info.GetReason())
	require.Equal(t, []string{"a"}, header.Get("x-first"))
	require.Equal(t, []string{string([]byte{0, 1, 255})}, header.Get("x-bin"))
	require.Equal(t, ok(codes.FailedPrecondition), r.outcome(t))
	require.Contains(t, trailer, "x-last")
}

// payloads notes how large what comes in was on the wire.
type payloads struct{ compressed, length atomic.Int64 }

func (p *payloads) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (p *payloads) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (p *payloads) HandleConn(context.Context, stats.ConnStats)                       {}
func (p *payloads) HandleRPC(_ context.Context, s stats.RPCStats) {
	if in, ok := s.(*stats.InPayload); ok {
		p.compressed.Store(int64(in.CompressedLength))
		p.length.Store(int64(in.Length))
	}
}

func TestCompressionStaysCompressed(t *testing.T) {
	seen := &payloads{}
	path, _ := serveGRPC(t, echoes(), grpc.StatsHandler(seen))
	back := &payloads{}
	conn := dial(t, serve(t, straight(connect(t, path)), usual), grpc.WithStatsHandler(back))
	out, err := call(t.Context(), conn, make([]byte, 1<<20), grpc.UseCompressor(gzip.Name))
	require.NoError(t, err)
	require.Len(t, out, 1<<20)
	for _, p := range []*payloads{seen, back} {
		require.Greater(t, p.length.Load(), int64(1<<20))
		require.Less(t, p.compressed.Load(), int64(100_000))
	}
}

func TestDeadlineReachesTheCallee(t *testing.T) {
	left := make(chan time.Duration, 1)
	e := echoes()
	e.unary = func(ctx context.Context, _ []byte) ([]byte, error) {
		deadline, _ := ctx.Deadline()
		left <- time.Until(deadline)
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	conn, _ := through(t, e)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := call(ctx, conn, nil)
	// The callee's server resets what is late, at the moment when the caller's own time is over.
	require.Contains(t, []codes.Code{codes.DeadlineExceeded, codes.Canceled}, status.Code(err), err)
	got := <-left
	require.Greater(t, got, 100*time.Millisecond)
	require.LessOrEqual(t, got, 500*time.Millisecond)
}

func TestCancellationReachesTheCallee(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	e := echoes()
	e.unary = func(ctx context.Context, _ []byte) ([]byte, error) {
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}
	conn, r := through(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	_, err := call(ctx, conn, nil)
	require.Equal(t, codes.Canceled, status.Code(err))
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Equal(t, passthrough.Outcome{Code: codes.Canceled, ByCaller: true}, r.outcome(t))
}

func TestExpireEndsACallThatNobodyElseEnds(t *testing.T) {
	cancelled := make(chan struct{})
	e := echoes()
	e.unary = func(ctx context.Context, _ []byte) ([]byte, error) {
		<-ctx.Done()
		close(cancelled)
		return nil, ctx.Err()
	}
	path, _ := serveGRPC(t, e)
	r := straight(connect(t, path))
	begin := r.begin
	r.begin = func(c *passthrough.Call) passthrough.Next {
		next := begin(c)
		c.Expire(50 * time.Millisecond)
		return next
	}
	_, err := call(t.Context(), dial(t, serve(t, r, usual)), nil)
	// The callee's server resets what is late, at the moment when the caller's own time is over.
	require.Contains(t, []codes.Code{codes.DeadlineExceeded, codes.Canceled}, status.Code(err), err)
	<-cancelled
	require.Equal(t, passthrough.Outcome{Code: codes.DeadlineExceeded}, r.outcome(t))
}

package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

type deliverStream = grpc.BidiStreamingServer[modulev1.DeliverRequest, modulev1.DeliverResponse]

// odd is a module that serves Deliver in its own way.
type odd struct {
	modulev1.UnimplementedEventsServer
	deliver func(deliverStream) error
	calls   atomic.Int64
}

// Deliver implements modulev1.EventsServer.
func (o *odd) Deliver(stream deliverStream) error {
	o.calls.Add(1)
	return o.deliver(stream)
}

// serve returns what the core has of a module that serves Deliver so.
func serve(t *testing.T, deliver func(deliverStream) error) (*Instance, *odd) {
	t.Helper()
	o := &odd{deliver: deliver}
	listener, server := bufconn.Listen(1<<20), grpc.NewServer()
	modulev1.RegisterEventsServer(server, o)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:///module", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(); server.Stop(); serving.Wait() })
	i := &Instance{events: modulev1.NewEventsClient(conn)}
	i.delivers.Store(true)
	return i, o
}

func event(id string, size int) *modulev1.HandleRequest {
	return &modulev1.HandleRequest{Attempt: 1, Event: &corev1.Event{Id: id, Data: make([]byte, size)}}
}

// Each of many deliveries gets its own outcome, in whatever order and company they come.
func TestEachDeliveryGetsItsOwnOutcome(t *testing.T) {
	t.Parallel()
	const many = 500
	i, o := serve(t, func(stream deliverStream) error {
		var all []*modulev1.Outcome
		for len(all) < many {
			req, err := stream.Recv()
			if err != nil {
				return err
			}
			for _, d := range req.GetDeliveries() {
				if timeout := d.GetTimeout().AsDuration(); timeout <= 0 || timeout > time.Minute {
					return fmt.Errorf("the timeout is %s", timeout)
				}
				all = append([]*modulev1.Outcome{{
					Number: d.GetNumber(), Answer: &modulev1.HandleResponse{Error: d.GetRequest().GetEvent().GetId()},
				}}, all...)
			}
		}
		all = append(all, all[0], &modulev1.Outcome{Number: 1 << 40}) // twice, and of nothing
		if err := stream.Send(&modulev1.DeliverResponse{Outcomes: all}); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var handling sync.WaitGroup
	for n := range many {
		handling.Go(func() {
			answer, err := i.Handle(ctx, event(fmt.Sprint(n), 10))
			if err != nil || answer.GetError() != fmt.Sprint(n) {
				t.Errorf("%d got %v, %v", n, answer, err)
			}
		})
	}
	handling.Wait()
	require.EqualValues(t, 1, o.calls.Load())
	d := i.delivering.now
	d.mu.Lock() // the outcomes that are nobody's may still be being read
	defer d.mu.Unlock()
	require.Empty(t, d.waiting)
}

// What a module says of a call is gRPC's error; that it ends the call is one, too, after which there is another call.
func TestWhatEndsDeliveries(t *testing.T) {
	t.Parallel()
	ends := errors.New("") // how the next call ends; "" means with an outcome
	i, o := serve(t, func(stream deliverStream) error {
		req, err := stream.Recv()
		if err != nil || ends == nil || ends.Error() != "" {
			return errors.Join(err, ends)
		}
		return stream.Send(&modulev1.DeliverResponse{Outcomes: []*modulev1.Outcome{{
			Number: req.GetDeliveries()[0].GetNumber(), Code: int32(codes.NotFound), Message: "no handler",
		}}})
	})
	handle := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := i.Handle(ctx, event("1", 10))
		return err
	}
	err := handle()
	require.Equal(t, codes.NotFound, status.Code(err))
	require.ErrorContains(t, err, "no handler")
	require.Eventually(t, i.delivering.now.isOver, time.Minute, time.Millisecond)
	ends = nil
	require.Equal(t, codes.Unavailable, status.Code(handle()))
	ends = errors.New("it has no wish to")
	require.ErrorContains(t, handle(), "no wish to")
	require.EqualValues(t, 3, o.calls.Load())
}

// A module that reads nothing keeps nobody for long, and the next delivery goes over another call.
func TestAModuleThatReadsNoDeliveries(t *testing.T) {
	t.Parallel()
	var stuck atomic.Bool
	stuck.Store(true)
	i, _ := serve(t, func(stream deliverStream) error {
		if stuck.Load() {
			<-stream.Context().Done()
			return nil
		}
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		return stream.Send(&modulev1.DeliverResponse{Outcomes: []*modulev1.Outcome{{Number: req.GetDeliveries()[0].GetNumber()}}})
	})
	began := time.Now()
	var handling sync.WaitGroup
	for range 40 { // more than go in one message, and more bytes than are taken unread
		handling.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if _, err := i.Handle(ctx, event("1", 200<<10)); err == nil {
				t.Error("it was handled")
			}
		})
	}
	handling.Wait()
	require.Less(t, time.Since(began), 30*time.Second)
	require.Eventually(t, i.delivering.now.isOver, time.Minute, time.Millisecond)
	stuck.Store(false)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := i.Handle(ctx, event("1", 10))
	require.NoError(t, err)
}

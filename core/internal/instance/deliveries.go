package instance

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/platformd/platformd/plugin-api/wire"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// sendPatience bounds how long the module may leave unread what it is sent: one that lives reads at once.
const sendPatience = 5 * time.Second

// Handle has the module handle one event, within ctx, and returns what came of it. An error says that nothing is known of that.
// ctx must have a deadline, and is not expected to end before it: the module is not told. A module that reads nothing keeps the
// caller up to 5 s longer.
func (i *Instance) Handle(ctx context.Context, req *modulev1.HandleRequest) (*modulev1.HandleResponse, error) {
	if !i.delivers.Load() {
		return i.events.Handle(ctx, req)
	}
	d, err := i.delivering.open(ctx, i.events)
	if err != nil {
		return nil, err
	}
	return d.handle(ctx, req)
}

// delivering is the call of Events.Deliver, of which there is at most one at a time. The zero value is ready.
type delivering struct {
	mu  sync.Mutex
	now *deliveries
}

// open returns the call, a new one if there is none that works.
func (d *delivering) open(ctx context.Context, client modulev1.EventsClient) (*deliveries, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now != nil && !d.now.isOver() {
		return d.now, nil
	}
	calling, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, hangUp)
	stream, err := client.Deliver(calling)
	if err != nil {
		hangUp()
		return nil, err
	}
	stop()
	d.now = newDeliveries(stream, hangUp)
	go d.now.receive() // ends with the connection
	return d.now, nil
}

type deliverClient = grpc.BidiStreamingClient[modulev1.DeliverRequest, modulev1.DeliverResponse]

// deliveries is one call of Events.Deliver.
type deliveries struct {
	stream deliverClient
	hangUp context.CancelFunc
	sender *wire.Sender[*modulev1.Delivery]

	mu      sync.Mutex // guards the rest
	last    uint64
	waiting map[uint64]chan *modulev1.Outcome // nil when the call is over
	why     error                             // it is over
}

func newDeliveries(stream deliverClient, hangUp context.CancelFunc) *deliveries {
	return &deliveries{
		stream: stream, hangUp: hangUp, waiting: map[uint64]chan *modulev1.Outcome{},
		sender: wire.NewSender(func(batch []*modulev1.Delivery) {
			giveUp := time.AfterFunc(sendPatience, hangUp)
			defer giveUp.Stop()
			_ = stream.Send(&modulev1.DeliverRequest{Deliveries: batch}) // it fails when the call is over, which receive notices
		}),
	}
}

func (d *deliveries) handle(ctx context.Context, req *modulev1.HandleRequest) (*modulev1.HandleResponse, error) {
	delivery, answered, err := d.begin(req)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		delivery.Timeout = durationpb.New(time.Until(deadline))
	}
	d.sender.Add(delivery)
	select {
	case outcome, ok := <-answered:
		switch {
		case !ok:
			return nil, d.why
		case outcome.GetCode() != int32(codes.OK):
			return nil, status.Error(codes.Code(outcome.GetCode()), outcome.GetMessage()) //nolint:gosec // unknown ones are allowed
		}
		return outcome.GetAnswer(), nil
	case <-ctx.Done():
		d.forget(delivery.GetNumber())
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// begin gives a delivery its number. Its outcome comes over the channel, which is closed if the call ends before.
func (d *deliveries) begin(req *modulev1.HandleRequest) (*modulev1.Delivery, <-chan *modulev1.Outcome, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == nil {
		return nil, nil, d.why
	}
	d.last++
	answered := make(chan *modulev1.Outcome, 1)
	d.waiting[d.last] = answered
	return &modulev1.Delivery{Number: d.last, Request: req}, answered, nil
}

// forget returns nil if nobody waits for the outcome.
func (d *deliveries) forget(number uint64) chan *modulev1.Outcome {
	d.mu.Lock()
	defer d.mu.Unlock()
	answered := d.waiting[number]
	delete(d.waiting, number)
	return answered
}

// receive hands out what came of deliveries, until the call is over.
func (d *deliveries) receive() {
	defer d.hangUp()
	for {
		answer, err := d.stream.Recv()
		if err != nil {
			d.end(err)
			return
		}
		for _, outcome := range answer.GetOutcomes() {
			if answered := d.forget(outcome.GetNumber()); answered != nil {
				answered <- outcome
			}
		}
	}
}

func (d *deliveries) end(why error) {
	switch {
	case errors.Is(why, io.EOF):
		why = status.Error(codes.Unavailable, "the module has ended the call by which it gets events")
	case status.Code(why) == codes.Canceled:
		why = status.Error(codes.Unavailable, "the module did not read the events that were sent to it")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.why = why
	for _, answered := range d.waiting {
		close(answered)
	}
	d.waiting = nil
}

func (d *deliveries) isOver() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting == nil
}

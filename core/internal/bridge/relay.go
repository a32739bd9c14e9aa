package bridge

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/bus"
)

const (
	// relayBatch is how many events are published at a time.
	relayBatch = 256
	// lookAnyway is how often an outbox is looked at though nobody said that there is something in it: whoever had put it there may
	// have been killed before.
	lookAnyway = time.Second
	// elsewhere is how often a daemon looks whether an outbox that is not there yet is made, or one that another daemon empties is
	// free. Every countElsewhere-th time it logs in to the module's database nevertheless, for which PostgreSQL makes a role, and
	// counts what is in it.
	elsewhere      = 5 * time.Second
	countElsewhere = 6
	// After a batch that was not full a relay waits gatherShare times as long as the batch took, within these bounds: what comes
	// meanwhile goes together, in one transaction each on the bus and in the module's database, and a busy outbox takes little of
	// the machine from the requests that fill it. The first event after a rest does not wait.
	gatherShare = 16
	gatherLeast = 20 * time.Millisecond
	gatherMost  = 200 * time.Millisecond
	// outboxWait bounds what is asked of an outbox, publishWait the publishing of one batch, directWait that of a handler: a bus
	// that is away must not keep requests.
	outboxWait  = 10 * time.Second
	publishWait = 30 * time.Second
	directWait  = 5 * time.Second
)

// ErrElsewhere means that another daemon is emptying the outbox.
var ErrElsewhere = errors.New("another daemon relays this outbox")

// Outbox is where one module puts its events, in its own database. It is used by one goroutine.
type Outbox interface {
	// Next returns the oldest events, in the order they were put in, and about how many there are in all. Unless this daemon is the
	// one who empties it, which it tries to become, it returns just the number, and ErrElsewhere.
	Next(ctx context.Context, limit int) (events []Outgoing, waiting int64, err error)
	// Remove forgets events that have been published.
	Remove(ctx context.Context, seqs []int64) error
	Close(ctx context.Context) error
}

// Outgoing is an event with its place in the outbox.
type Outgoing struct {
	Seq   int64
	Event bus.Event
}

// relay empties the outbox of one module.
type relay struct {
	bridge  *Bridge
	module  string
	woken   chan struct{} // holds one
	backlog atomic.Int64
}

func newRelay(b *Bridge, module string) *relay {
	return &relay{bridge: b, module: module, woken: make(chan struct{}, 1)}
}

func (r *relay) wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// run empties the outbox until ctx ends. When anything fails it begins anew, with a new connection: whatever broke the old one.
func (r *relay) run(ctx context.Context) {
	for again := r.bridge.newRetry(); ctx.Err() == nil; {
		err := r.session(ctx, again.well)
		switch {
		case errors.Is(err, ErrElsewhere):
			r.standBy(ctx)
			continue
		case errors.Is(err, fs.ErrNotExist): // the module makes its database when it first starts, and wakes us
			select {
			case <-r.woken:
			case <-time.After(elsewhere):
			case <-ctx.Done():
			}
			continue
		}
		if !again.wait(ctx, "relay the events of "+r.module, err) {
			return
		}
	}
}

// standBy returns when the outbox that another daemon empties may be free, or what is in it should be counted again.
func (r *relay) standBy(ctx context.Context) {
	for range countElsewhere {
		if !pause(ctx, elsewhere) || !r.taken(ctx) {
			return
		}
	}
}

func (r *relay) taken(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, outboxWait)
	defer cancel()
	taken, err := r.bridge.Taken(ctx, r.module)
	return err == nil && taken
}

// session works with one opened outbox until something fails; well is called after whatever went well.
func (r *relay) session(ctx context.Context, well func()) (err error) {
	leave, err := r.bridge.look(ctx)
	if err != nil {
		return err
	}
	defer leave()
	box, err := r.open(ctx)
	if err != nil {
		return fmt.Errorf("open the outbox: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outboxWait)
		defer cancel()
		err = errors.Join(err, box.Close(ctx))
	}()
	look := time.NewTicker(lookAnyway)
	defer look.Stop()
	for {
		began := time.Now()
		events, err := r.next(ctx, box)
		if err != nil {
			return err
		}
		leave() // it is ours
		n, err := r.batch(ctx, box, events)
		if err != nil {
			return err
		}
		well()
		if n >= relayBatch {
			continue
		}
		gather := min(max(gatherShare*time.Since(began), gatherLeast), gatherMost)
		if n > 0 && !pause(ctx, gather) {
			return nil
		}
		select {
		case <-r.woken:
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *relay) open(ctx context.Context) (Outbox, error) {
	ctx, cancel := context.WithTimeout(ctx, outboxWait)
	defer cancel()
	return r.bridge.OpenOutbox(ctx, r.module)
}

// batch publishes the oldest events, once every subscription is declared; before, it leaves them. What could not be published
// stays, and so does what is behind it with the same key.
func (r *relay) batch(ctx context.Context, box Outbox, events []Outgoing) (n int, err error) {
	if len(events) == 0 || !r.bridge.isDeclared() {
		return 0, nil
	}
	admitted, refused, err := r.admit(ctx, events)
	if err != nil {
		return 0, err
	}
	list := make([]bus.Event, len(admitted))
	for i, e := range admitted {
		list[i] = e.Event
	}
	var errs []error
	if len(list) > 0 {
		publishing, cancel := context.WithTimeout(ctx, publishWait)
		defer cancel()
		errs = r.bridge.Bus.Publish(publishing, list)
	}
	done, skipped, failed := r.sort(admitted, errs)
	if err := r.forget(ctx, box, append(done, refused...)); err != nil {
		return 0, errors.Join(failed, err)
	}
	if skipped && failed == nil {
		return relayBatch, nil // behind an event that nobody wanted, which is gone now
	}
	return len(events), failed
}

// admit sorts out what the module may not publish. Nobody waits for an answer that could say so: it becomes a dead letter.
func (r *relay) admit(ctx context.Context, events []Outgoing) (admitted []Outgoing, refused []int64, err error) {
	for _, e := range events {
		event, why := r.bridge.Admit(r.module, e.Event)
		if why == nil {
			admitted = append(admitted, Outgoing{e.Seq, event})
			continue
		}
		letter := bus.DeadLetter{
			ID: r.letterID(e), Event: event, At: time.Now().UTC(), Attempts: 1,
			Failure: bus.Failure{Reason: bus.ReasonRefused, Error: status.Convert(why).Message()},
		}
		if err := r.bridge.keep(ctx, letter); err != nil {
			return nil, nil, fmt.Errorf("keep a refused event: %w", err)
		}
		r.bridge.metrics.relayed.WithLabelValues(r.module, bus.ReasonRefused).Inc()
		refused = append(refused, e.Seq)
	}
	return admitted, refused, nil
}

// letterID is the same when the event is read once more because it could not be forgotten, and another for every other event: a
// module whose data was thrown away, or came out of a backup, counts from there again.
func (r *relay) letterID(e Outgoing) string {
	hash := sha256.New()
	for _, part := range [][]byte{[]byte(e.Event.ID), []byte(e.Event.Type), []byte(e.Event.Time.String()), e.Event.Data} {
		hash.Write(binary.AppendUvarint(nil, uint64(len(part))))
		hash.Write(part)
	}
	return fmt.Sprintf("outbox-%s-%d-%x", r.module, e.Seq, hash.Sum(nil)[:6])
}

func (r *relay) forget(ctx context.Context, box Outbox, seqs []int64) error {
	if len(seqs) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outboxWait)
	defer cancel()
	if err := box.Remove(ctx, seqs); err != nil {
		return fmt.Errorf("forget %d published events: %w", len(seqs), err)
	}
	r.backlog.Add(-int64(len(seqs)))
	return nil
}

func (r *relay) next(ctx context.Context, box Outbox) ([]Outgoing, error) {
	ctx, cancel := context.WithTimeout(ctx, outboxWait)
	defer cancel()
	events, waiting, err := box.Next(ctx, relayBatch)
	if err == nil || errors.Is(err, ErrElsewhere) {
		r.backlog.Store(waiting)
	}
	return events, err
}

// sort finds the events that may be forgotten: those that are published, and those that nobody wants or ever could.
func (r *relay) sort(events []Outgoing, errs []error) (done []int64, skipped bool, failed error) {
	relayed := r.bridge.metrics.relayed
	for i, e := range events {
		var err error
		if errs != nil {
			err = errs[i]
		}
		switch {
		case err == nil:
			relayed.WithLabelValues(r.module, "published").Inc()
		case errors.Is(err, bus.ErrUnroutable):
			relayed.WithLabelValues(r.module, "unwanted").Inc()
		case errors.Is(err, bus.ErrSkipped):
			skipped = true
			continue
		default:
			if failed == nil {
				failed = fmt.Errorf("publish event %s of type %s: %w", e.Event.ID, e.Event.Type, err)
			}
			continue
		}
		done = append(done, e.Seq)
	}
	return done, skipped, failed
}

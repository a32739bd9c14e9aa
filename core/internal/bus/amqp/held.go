package amqp

import (
	"context"
	"fmt"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/platformd/platformd/core/internal/bus"
)

// heldFor is how long it is remembered what is tried again, in ms, if whoever should have forgotten it did not.
const heldFor = 7 * 24 * 60 * 60 * 1000

// sweepAfter is how many notes that are of no use any more may lie in the queue.
const sweepAfter = 64

// held has notes of what is tried again of an ordered subscription. Its deliveries stay where they are, so that those of their
// key stay behind them; when and as which attempt each is due stands in a queue of its own, which nobody consumes. Whoever is
// given deliveries, perhaps those that another consumer had, reads all of it first.
type held struct {
	bus *Bus
	of  bus.Subscription

	mu       sync.Mutex
	obsolete map[string]bool // by id: those of deliveries that are settled
	sweeping bool
}

func (b *Bus) establishHeld(ch *amqp091.Channel, s bus.Subscription) error {
	name := b.names.held(s)
	_, err := ch.QueueDeclare(name, true, false, false, false, amqp091.Table{
		amqp091.QueueTypeArg: amqp091.QueueTypeQuorum, amqp091.QueueMessageTTLArg: int64(heldFor), "x-delivery-limit": int64(noLimit),
	})
	return explain("queue", name, err)
}

// note is the message that remembers something of a delivery.
func (h *held) note(id string, n note) *parcel {
	return &parcel{key: h.bus.names.held(h.of), message: amqp091.Publishing{
		MessageId: id, DeliveryMode: amqp091.Persistent,
		Headers: amqp091.Table{headerAttempt: int64(n.attempt), headerDue: n.due.UnixMilli()},
	}}
}

// read returns the notes by id, and removes those that are of no use any more. The others go back when its channel is closed.
func (h *held) read(s *session) (map[string]note, error) {
	notes, tags := map[string]note{}, map[string]uint64{}
	err := onChannel(s, func(ch *amqp091.Channel) error {
		for {
			m, ok, err := ch.Get(h.bus.names.held(h.of), false)
			if err != nil || !ok {
				return err
			}
			n := note{attempt: int(number(m.Headers, headerAttempt)), due: time.UnixMilli(number(m.Headers, headerDue))}
			before, twice := notes[m.MessageId]
			useless := m.DeliveryTag
			switch {
			case h.isObsolete(m.MessageId) || twice && n.attempt < before.attempt:
			default:
				useless = tags[m.MessageId]
				notes[m.MessageId], tags[m.MessageId] = n, m.DeliveryTag
			}
			if useless != 0 {
				if err := ch.Ack(useless, false); err != nil {
					return err
				}
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read what is tried again: %w", err)
	}
	return notes, nil
}

func (h *held) isObsolete(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.obsolete[id]
}

// settled has the notes of a delivery removed, some time.
func (h *held) settled(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.obsolete[id] = true
	if len(h.obsolete) >= sweepAfter && !h.sweeping {
		h.sweeping = true
		h.bus.workers.Go(func() { h.sweep(sweepAfter) })
	}
}

// sweep removes notes, if there are so many to remove.
func (h *held) sweep(many int) {
	h.mu.Lock()
	swept := make([]string, 0, len(h.obsolete))
	for id := range h.obsolete {
		swept = append(swept, id)
	}
	h.mu.Unlock()
	var err error
	if s := h.bus.consuming.current(); s != nil && len(swept) >= many {
		_, err = h.read(s)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sweeping = false
	if err != nil {
		h.bus.o.Log.Debug("notes of what was tried again are not removed yet", "subscription", h.of.ID(), "error", err)
		return
	}
	for _, id := range swept {
		delete(h.obsolete, id)
	}
}

// end removes what is left to remove.
func (h *held) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	_, _ = within(ctx, h.bus, func() (struct{}, error) { h.sweep(1); return struct{}{}, nil }, nil) // or they end by themselves
}

package amqp

import (
	"context"
	"net"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/platformd/platformd/core/internal/bus"
)

// Kill ends a bus as kill -9 ends its daemon: its connections are cut, and it makes no others.
func (b *Bus) Kill() {
	sessions := []*session{b.publishing.current(), b.consuming.current()}
	for _, s := range sessions {
		if s != nil {
			s.kill()
		}
	}
	b.stop()
	for _, s := range sessions {
		if s != nil {
			<-s.lost
		}
	}
	b.close(bus.ErrClosed)
}

// MakeQueues makes the queues of a subscription as one does who is killed before the rest.
func (b *Bus) MakeQueues(ctx context.Context, s bus.Subscription) error {
	return b.onBroker(ctx, func(on *session) error {
		return onChannel(on, func(ch *amqp091.Channel) error { return b.makeQueues(ch, s) })
	})
}

// Queues are the names of all queues of subscriptions that may be there, and Exchanges those of exchanges.
func Queues(prefix string, subscriptions []bus.Subscription) (all []string) {
	n := names(prefix)
	all = append(all, n.dead())
	for _, s := range subscriptions {
		all = append(all, n.queue(s), n.held(s))
		for _, after := range levels {
			all = append(all, n.retry(s, after))
		}
	}
	return all
}

// Exchanges are the names of all exchanges.
func Exchanges(prefix string) []string {
	n := names(prefix)
	return []string{n.events(), n.tail(), n.ask()}
}

// NewSocket bounds how long the other end of an open connection may be silent.
func NewSocket(conn net.Conn, silence time.Duration) net.Conn {
	s := newSocket(conn, silence)
	s.open.Store(true)
	return s
}

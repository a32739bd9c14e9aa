package amqp

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/platformd/platformd/core/internal/bus"
)

// listener is somebody who consumes a queue. Its funcs are called one at a time.
type listener struct {
	prefetch int
	open     func(context.Context, *amqp091.Channel) (queue string, err error)
	begin    func(*intake)
	arrive   func(context.Context, *intake, *amqp091.Delivery)
	lose     func(*intake) // what came on it and is not settled comes again, or is with somebody else
	// end is called once, when ctx has ended: what is being handled is waited for. in is nil if there is no connection.
	end func(in *intake)
	// absent makes a queue that is not there, or that somebody deleted. errGone and errOther end it all.
	absent func(context.Context) error
}

// listen consumes until ctx ends, on one channel after the other.
func (b *Bus) listen(ctx context.Context, l listener) error {
	for pause := firstPause; ; {
		began := time.Now()
		err := b.listenOnce(ctx, &l)
		if ctx.Err() != nil {
			break
		}
		if l.absent != nil && (err == nil || isNotFound(err)) { // err == nil: the broker cancelled it
			if err := l.absent(ctx); errors.Is(err, errOther) || errors.Is(err, errGone) {
				return err
			}
		}
		if errors.Is(err, errGone) {
			return err
		}
		if time.Since(began) > lastPause {
			pause = firstPause
		}
		rest(ctx, pause)
		pause = min(2*pause, lastPause)
	}
	if l.end != nil {
		l.end(nil)
	}
	if errors.Is(context.Cause(ctx), bus.ErrClosed) {
		return bus.ErrClosed
	}
	return nil
}

func isNotFound(err error) bool {
	var refused *amqp091.Error
	return errors.As(err, &refused) && refused.Code == amqp091.NotFound
}

// consumerTag names the one consumer of a channel.
const consumerTag = "platformd"

// stream is what an intake brings.
type stream struct {
	*intake
	deliveries <-chan amqp091.Delivery
}

// listenOnce consumes on one channel, until it is lost or ctx ends.
func (b *Bus) listenOnce(ctx context.Context, l *listener) error {
	s, _ := b.consuming.session(ctx)
	if s == nil {
		return nil
	}
	in, err := within(ctx, b, func() (stream, error) { return openStream(ctx, s, l) }, func(in stream) { _ = in.channel.Close() })
	if err != nil {
		return err
	}
	defer b.closeChannel(ctx, in.intake)
	l.begin(in.intake)
	defer func() {
		close(in.lost)
		l.lose(in.intake)
	}()
	for {
		select {
		case m, ok := <-in.deliveries:
			if !ok {
				return nil
			}
			in.came(m.DeliveryTag)
			if ctx.Err() == nil {
				l.arrive(ctx, in.intake, &m)
			}
		case <-ctx.Done():
			if l.end != nil {
				l.end(in.intake)
			}
			return nil
		}
	}
}

func openStream(ctx context.Context, s *session, l *listener) (in stream, err error) {
	ch, err := s.conn.Channel()
	if err != nil {
		return in, fmt.Errorf("open a channel: %w", err)
	}
	defer func() {
		if err != nil {
			_ = ch.Close() // or the broker has
		}
	}()
	queue, err := l.open(ctx, ch)
	if err != nil {
		return in, err
	}
	if err := ch.Qos(l.prefetch, 0, false); err != nil {
		return in, fmt.Errorf("set how many deliveries come at once: %w", err)
	}
	deliveries, err := ch.Consume(queue, consumerTag, false, false, false, false, nil)
	if err != nil {
		return in, fmt.Errorf("consume queue %s: %w", queue, err)
	}
	return stream{newIntake(s, ch), deliveries}, nil
}

// closeChannel has the broker give what came on it to others. If it does not answer, the connection ends, which does the same.
func (b *Bus) closeChannel(ctx context.Context, in *intake) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	closing := func() (struct{}, error) { return struct{}{}, in.close() }
	if _, err := within(ctx, b, closing, nil); err != nil && ctx.Err() != nil {
		in.session.kill()
	}
}

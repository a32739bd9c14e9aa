package amqp

import (
	"runtime"
	"slices"
	"sync"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// intake is one channel on which deliveries come. A tag means nothing on any other.
type intake struct {
	session  *session
	channel  *amqp091.Channel
	lost     chan struct{} // closed when the channel is of no use any more
	informed bool          // see dispatcher.inform

	told sync.WaitGroup // the goroutine that tells the broker

	mu      sync.Mutex // guards the rest
	open    []uint64   // tags of what came and the broker is not told of, in the order in which they came
	done    map[uint64]bool
	telling bool
	shut    bool
}

func newIntake(s *session, ch *amqp091.Channel) *intake {
	return &intake{session: s, channel: ch, lost: make(chan struct{}), done: map[uint64]bool{}}
}

// isLost tells whether nothing can be said of its deliveries any more: they come again.
func (in *intake) isLost() bool {
	select {
	case <-in.lost:
		return true
	default:
		return in.channel.IsClosed()
	}
}

// came notes a delivery, before anything is said of it.
func (in *intake) came(tag uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.open = append(in.open, tag)
}

// ack has the broker told that a delivery is done with, and reports whether it can be. What is done with at the same moment is
// told together: a quorum queue writes down each word of ours by itself.
func (in *intake) ack(tag uint64) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.shut || in.isLost() {
		return false
	}
	in.done[tag] = true
	if !in.telling {
		in.telling = true
		in.told.Go(in.tell) // ends when nothing more is done with
	}
	return true
}

// close returns when the broker knows what is done with, and has closed the channel: it gives others whatever else came on it.
func (in *intake) close() error {
	in.mu.Lock()
	in.shut = true
	in.mu.Unlock()
	in.told.Wait()
	return in.channel.Close()
}

// tell tells the broker what is done with. If it cannot, everything comes again.
func (in *intake) tell() {
	runtime.Gosched() // lets others be done, too
	for {
		upTo, single := in.take()
		if upTo == 0 && len(single) == 0 {
			return
		}
		if upTo != 0 {
			_ = in.channel.Ack(upTo, true) // it fails when the channel is closed
		}
		for _, tag := range single {
			_ = in.channel.Ack(tag, false)
		}
	}
}

// take takes the tags that the broker is to be told of now: all up to one of them, which is 0 if there is none, and single ones
// beyond that. When it takes nothing, nobody is telling any more.
func (in *intake) take() (upTo uint64, single []uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	open := in.open[:0]
	for _, tag := range in.open {
		switch {
		case !in.done[tag]:
			open = append(open, tag)
		case len(open) == 0:
			upTo = tag
		default:
			single = append(single, tag)
		}
	}
	in.open = open
	clear(in.done)
	in.telling = upTo != 0 || len(single) > 0
	return upTo, single
}

// giveBack has the broker deliver it to somebody else. Of the two words for that, this is the one that does not count as a
// failure, from 4.0 on.
func (in *intake) giveBack(tag uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	// Before anything is said of all up to a later one.
	in.open = slices.DeleteFunc(in.open, func(t uint64) bool { return t == tag })
	_ = in.channel.Nack(tag, false, true) // if it fails, it is given back anyway
}

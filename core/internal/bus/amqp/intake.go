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

	mu      sync.Mutex        // guards the rest
	open    []uint64          // tags of what came and the broker is not told of, in the order in which they came
	done    map[uint64]func() // of those, what is done with: called if the broker cannot be told
	telling bool
	shut    bool
}

func newIntake(s *session, ch *amqp091.Channel) *intake {
	return &intake{session: s, channel: ch, lost: make(chan struct{}), done: map[uint64]func(){}}
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
// told together: a quorum queue writes down each word of ours by itself. untold is called if it cannot be told after all, before
// the delivery comes again on another intake of the same listener.
func (in *intake) ack(tag uint64, untold func()) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.shut || in.isLost() {
		return false
	}
	in.done[tag] = untold
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

// tell tells the broker what is done with.
func (in *intake) tell() {
	runtime.Gosched() // lets others be done, too
	for words := in.take(); len(words) > 0; words = in.take() {
		for _, w := range words {
			if in.channel.Ack(w.tag, w.andBefore) == nil {
				continue
			}
			for _, untold := range w.untold { // the channel is closed
				untold()
			}
		}
	}
}

// word is what the broker is told at once.
type word struct {
	tag       uint64
	andBefore bool // of all up to the tag
	untold    []func()
}

// take takes what the broker is to be told now: one word of the first deliveries, as far as all are done with, and one of each
// beyond that. When it takes nothing, nobody is telling any more.
func (in *intake) take() (words []word) {
	in.mu.Lock()
	defer in.mu.Unlock()
	open, first := in.open[:0], word{andBefore: true}
	for _, tag := range in.open {
		untold, done := in.done[tag]
		switch {
		case !done:
			open = append(open, tag)
		case len(open) == 0:
			first.tag, first.untold = tag, append(first.untold, untold)
		default:
			words = append(words, word{tag: tag, untold: []func(){untold}})
		}
	}
	if first.tag != 0 {
		words = append([]word{first}, words...)
	}
	in.open = open
	clear(in.done)
	in.telling = len(words) > 0
	return words
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

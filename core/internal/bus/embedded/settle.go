package embedded

import (
	"time"

	"github.com/platformd/platformd/core/internal/bus"
)

// maxCuts is how often whoever had a delivery may be killed or cut off before it is taken for the cause.
const maxCuts = 20

// deliveryID names a delivery.
type deliveryID struct{ seq, sub int64 }

// holding is a delivery in the hands of a holder.
type holding struct {
	deliveryID
	holder int64
}

// delivery is one that this daemon holds.
type delivery struct {
	deliveryID
	holder   int64
	event    bus.Event
	attempts int // that were made before
	letter   bool
	broken   bool // it is no event; why says why
	// Of a letter.
	name   string // of its subscription
	why    bus.Failure
	diedAt int64
}

// settle is what becomes of a delivery that holder has. It has no effect if another has it by now.
type settle struct {
	deliveryID
	holder int64

	gone           bool
	state          int           // if it is not gone
	after          time.Duration // until it is due
	attempts, cuts int           // more
	why            *bus.Failure  // of what dies now
	passed         bool          // by one who cannot handle it now: another may
}

func (d *delivery) ack() settle {
	return settle{deliveryID: d.deliveryID, holder: d.holder, gone: true}
}

func (d *delivery) release() settle {
	s := settle{deliveryID: d.deliveryID, holder: d.holder, state: ready}
	if d.letter {
		s.state = dead
	}
	return s
}

func (d *delivery) verdict(v bus.Verdict) settle {
	switch s := d.release(); v.Fate() {
	case bus.Retried:
		s.after, s.attempts = max(0, v.After()), 1
		return s
	case bus.Released:
		s.passed = true
		return s
	case bus.Died:
		s.attempts = 1
		return s.die(v.Why())
	}
	return d.ack()
}

func (s settle) die(why bus.Failure) settle {
	s.state = dead
	s.why = &bus.Failure{Reason: legible(why.Reason), Error: legible(why.Error)}
	return s
}

// left is what is found in the hands of somebody.
type left struct {
	holding
	state, cuts int
}

func (l left) release() settle {
	d := delivery{deliveryID: l.deliveryID, holder: l.holder, letter: l.state == letters}
	return d.release()
}

// cutOff is what becomes of it if its holder is gone.
func (l left) cutOff() settle {
	s := l.release()
	switch {
	case l.state == letters:
		return s
	case l.cuts >= maxCuts:
		s = s.die(bus.Failure{Reason: bus.ReasonAbandoned, Error: "the daemon that had it was killed or cut off every time " +
			"(fix: see whether the handler of this event takes the module, or platformd, down with it)"})
	}
	s.cuts = 1
	return s
}

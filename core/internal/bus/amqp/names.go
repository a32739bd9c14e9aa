package amqp

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/platformd/platformd/core/internal/bus"
)

// levels are for how long what must be tried again may wait, before it comes back to its subscription's queue. What wants to wait
// longer than the last comes back to be sent there once more.
var levels = []time.Duration{
	100 * time.Millisecond, time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute,
}

// level is the one in which to wait that long.
func level(after time.Duration) time.Duration {
	for _, l := range levels {
		if after <= l {
			return l
		}
	}
	return levels[len(levels)-1]
}

// maxName is how many bytes the name of a queue may have.
const maxName = 255

// names are those of what there is on the broker; the value is what all begin with.
type names string

func (n names) events() string { return string(n) + ".events" }
func (n names) tail() string   { return string(n) + ".tail" }
func (n names) ask() string    { return string(n) + ".ask" }
func (n names) lock() string   { return string(n) + ".lock" }
func (n names) dead() string   { return string(n) + ".dead" }
func (n names) seal() string   { return string(n) + ".seal" }

// queue is where a subscription's deliveries wait to be consumed.
func (n names) queue(s bus.Subscription) string { return n.of("sub", s, "") }

// retry is where those wait that are to be tried again after a while.
func (n names) retry(s bus.Subscription, after time.Duration) string {
	return n.of("retry", s, "."+strings.Replace(after.String(), "m0s", "m", 1))
}

// held is where it is written what is tried again of an ordered subscription, and when.
func (n names) held(s bus.Subscription) string { return n.of("held", s, "") }

// of writes # for the star: shells leave it alone, and it is in no type.
func (n names) of(kind string, s bus.Subscription, end string) string {
	begin := string(n) + "." + kind + "." + s.Module + "."
	pattern := strings.ReplaceAll(s.Pattern, "*", "#")
	if len(begin)+len(pattern)+len(end) > maxName {
		sum := sha256.Sum256([]byte(pattern))
		pattern = pattern[:maxName-len(begin)-len(end)-33] + "~" + hex.EncodeToString(sum[:16])
	}
	return begin + pattern + end
}

// subscription is whose queue it is, as far as the name tells: the pattern of a very long one is cut.
func (n names) subscription(queue string) string {
	name, ok := strings.CutPrefix(queue, string(n)+".sub.")
	if !ok {
		return queue
	}
	module, pattern, _ := strings.Cut(name, ".")
	return bus.Subscription{Module: module, Pattern: strings.ReplaceAll(pattern, "#", "*")}.ID()
}

// binding is the routing key of a topic exchange that matches what the pattern does: its # alone would match no word, too.
func binding(pattern string) string {
	if begin, ok := strings.CutSuffix(pattern, "*"); ok {
		return begin + "*.#"
	}
	return pattern
}

// parse is the reverse of Subscription.ID; whether it is ordered is not in it.
func parse(id string) (s bus.Subscription, ok bool) {
	s.Module, s.Pattern, ok = strings.Cut(id, ":")
	return s, ok && s.Module != "" && bus.CheckPattern(s.Pattern) == nil
}

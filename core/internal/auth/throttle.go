package auth

import (
	"container/list"
	"crypto/sha256"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	// freeFailures is how many wrong answers an account, and an address, has before it must wait.
	freeFailures = 5
	// failureWindow is how long failures count, from the last one or from the end of the wait that it brought.
	failureWindow = 15 * time.Minute
	// firstDelay is the wait after the fifth failure; each one more doubles it, up to maxDelay.
	firstDelay = time.Second
	maxDelay   = 15 * time.Minute
	// addressTries is how many sign-ins of one address may be under way at once: many people can share one.
	addressTries = 32
	// throttleSize bounds the memory: how many accounts and addresses are remembered, the least recently used forgotten first.
	throttleSize = 20_000
)

// TooManyError is the answer to sign-ins that come too fast, whether or not there is such an account.
type TooManyError struct {
	RetryAfter time.Duration // at least a second
}

// Error implements error.
func (e *TooManyError) Error() string {
	seconds := int(math.Ceil(e.RetryAfter.Seconds()))
	return fmt.Sprintf("too many sign-ins have failed (fix: wait %d s, then try again)", seconds)
}

// throttle slows down who guesses passwords: by account, known or not, and by address. What it knows is this replica's alone: n
// replicas let n times as many guesses pass, which is still a few per quarter of an hour. It is safe for concurrent use.
type throttle struct {
	now     func() time.Time
	mu      sync.Mutex
	entries map[digest]*list.Element // of *record
	order   *list.List               // the last used first
}

// record is what is known of an account or an address.
type record struct {
	key      digest
	failures int
	trying   int       // sign-ins that are under way
	until    time.Time // nothing may be tried before
	forget   time.Time // from then on the failures count no more
}

// verdict is what came of a sign-in.
type verdict int

const (
	unknown   verdict = iota // it could not be found out; it counts for nothing
	failed                   // wrong
	succeeded                // right: the account's failures are forgotten
)

// try is a sign-in that is under way.
type try struct {
	throttle         *throttle
	account, address digest
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, entries: make(map[digest]*list.Element), order: list.New()}
}

// begin lets a sign-in begin, which must be ended, or returns a *TooManyError. Those under way count as if they had failed
// already: who asks a thousand times at once gets no more guesses than who asks one after the other.
func (t *throttle) begin(email, address string) (*try, error) {
	began := &try{
		throttle: t, account: sha256.Sum256([]byte("account " + email)), address: sha256.Sum256([]byte("address " + network(address))),
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	account, host := t.get(began.account, now), t.get(began.address, now)
	wait := max(account.wait(now, freeFailures-account.failures), host.wait(now, addressTries))
	if wait > 0 {
		return nil, &TooManyError{RetryAfter: wait}
	}
	account.trying++
	host.trying++
	return began, nil
}

// end says what came of the sign-in. An address keeps its failures after a success: otherwise an attacker's own account would
// let it guess at others for ever.
func (y *try) end(v verdict) {
	t := y.throttle
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for _, r := range []*record{t.get(y.account, now), t.get(y.address, now)} {
		r.trying = max(r.trying-1, 0) // it may have been forgotten meanwhile
		if v == failed {
			r.fail(now)
		}
	}
	if v == succeeded {
		account := t.get(y.account, now)
		account.failures, account.until = 0, time.Time{}
	}
}

// get returns what is known of a key, and makes room for it.
func (t *throttle) get(key digest, now time.Time) *record {
	if found, ok := t.entries[key]; ok {
		t.order.MoveToFront(found)
		r := recordOf(found)
		if !now.Before(r.forget) {
			r.failures = 0
		}
		return r
	}
	if len(t.entries) >= throttleSize {
		oldest := t.order.Back()
		delete(t.entries, recordOf(oldest).key)
		t.order.Remove(oldest)
	}
	r := &record{key: key}
	t.entries[key] = t.order.PushFront(r)
	return r
}

func recordOf(e *list.Element) *record {
	r, _ := e.Value.(*record) // there is nothing else in the list
	return r
}

// wait is how long the next sign-in must wait; at most atOnce, but one in any case, may be under way.
func (r *record) wait(now time.Time, atOnce int) time.Duration {
	if r.until.After(now) {
		return max(r.until.Sub(now), firstDelay)
	}
	if r.trying >= max(atOnce, 1) {
		return firstDelay
	}
	return 0
}

func (r *record) fail(now time.Time) {
	r.failures++
	if over := r.failures - freeFailures; over >= 0 {
		r.until = now.Add(min(firstDelay<<min(over, 20), maxDelay))
	}
	r.forget = now.Add(failureWindow)
	if r.until.After(now) {
		r.forget = r.until.Add(failureWindow)
	}
}

// network is whose an address is taken to be: one client has all of an IPv6 /64.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return "" // all that have none together
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.Prefix(64)
	if err != nil {
		return ip.String()
	}
	return prefix.String()
}

func plainEmail(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

package logs

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	defaultRing = 1000
	// ringBytes bounds what one module's records take in memory: a module that floods its log must not fill the core's.
	ringBytes = 1 << 20
)

// Filter selects records. The zero value selects all of them.
type Filter struct {
	// Module is the name of a module, or Core. Empty = all.
	Module string
	// Level is the least severe level. NoLevel = all.
	Level hclog.Level
	// Since leaves out what is older.
	Since time.Time
	// N is how many of the kept records are wanted at most, the newest. 0 = all of them, negative = none.
	N int
}

func (f Filter) matches(e Entry) bool {
	return (f.Module == "" || f.Module == e.Module) && hclog.LevelFromString(e.Level) >= f.Level && !e.Time.Before(f.Since)
}

// Store keeps the newest records of each module, and tells followers of new ones. It is safe for concurrent use.
type Store struct {
	keep int

	mu        sync.Mutex
	rings     map[string]*ring
	followers map[*follower]struct{}
	seq       uint64
	closed    chan struct{}
	pumps     sync.WaitGroup
}

func newStore(keep int) *Store {
	if keep <= 0 {
		keep = defaultRing
	}
	return &Store{keep: keep, rings: map[string]*ring{}, followers: map[*follower]struct{}{}, closed: make(chan struct{})}
}

// Tail returns the kept records that match, oldest first.
func (s *Store) Tail(f Filter) []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tail(f)
}

func (s *Store) tail(f Filter) []Entry {
	if f.N < 0 {
		return nil
	}
	var found []Entry
	for _, r := range s.rings {
		for _, e := range r.entries {
			if f.matches(e) {
				found = append(found, e)
			}
		}
	}
	slices.SortFunc(found, func(a, b Entry) int { return cmp.Compare(a.seq, b.seq) })
	if f.N > 0 && len(found) > f.N {
		found = found[len(found)-f.N:]
	}
	return found
}

// Follow sends what Tail returns, and then every new record that matches, until ctx is done or the log is closed; it then
// closes the channel. A receiver that is too slow never holds up the log: it loses the oldest records that it has not
// received, and the next one says how many (Entry.Lost).
func (s *Store) Follow(ctx context.Context, f Filter) <-chan Entry {
	out := make(chan Entry)
	s.mu.Lock()
	defer s.mu.Unlock()
	follow := &follower{filter: f, kept: s.tail(f), waiting: ring{keep: s.keep}, wake: make(chan struct{}, 1)}
	select {
	case <-s.closed:
		close(out)
		return out
	default:
	}
	s.followers[follow] = struct{}{}
	s.pumps.Go(func() { s.pump(ctx, follow, out) })
	return out
}

// pump moves records from the follower's queue to its channel.
func (s *Store) pump(ctx context.Context, f *follower, out chan<- Entry) {
	defer close(out)
	defer s.forget(f)
	for {
		e, found := s.next(f)
		if !found {
			select {
			case <-f.wake:
				continue
			case <-ctx.Done():
				return
			case <-s.closed:
				return
			}
		}
		select {
		case out <- e:
		case <-ctx.Done():
			return
		case <-s.closed:
			return
		}
	}
}

func (s *Store) next(f *follower) (Entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.take()
}

func (s *Store) forget(f *follower) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.followers, f)
}

// add keeps a record and offers it to the followers. It never waits for one.
func (s *Store) add(e Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	e.seq = s.seq
	r := s.rings[e.Module]
	if r == nil {
		r = &ring{keep: s.keep}
		s.rings[e.Module] = r
	}
	r.push(e)
	for f := range s.followers {
		if f.filter.matches(e) {
			f.offer(e)
		}
	}
}

// close ends every follower and waits until they have ended.
func (s *Store) close() {
	s.mu.Lock()
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	s.mu.Unlock()
	s.pumps.Wait()
}

// follower is one receiver and what waits for it. The store's mutex guards it.
type follower struct {
	filter  Filter
	kept    []Entry // from before it followed
	waiting ring
	lost    int
	wake    chan struct{} // holds a token when something waits
}

func (f *follower) offer(e Entry) {
	f.lost += f.waiting.push(e)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *follower) take() (Entry, bool) {
	if len(f.kept) > 0 {
		e := f.kept[0]
		f.kept = f.kept[1:]
		return e, true
	}
	e, found := f.waiting.shift()
	if found {
		e.Lost, f.lost = f.lost, 0
	}
	return e, found
}

// ring keeps the newest entries, bounded in number and in bytes.
type ring struct {
	keep    int
	entries []Entry
	bytes   int
}

// push adds an entry and returns how many old ones had to go for it.
func (r *ring) push(e Entry) (dropped int) {
	r.entries = append(r.entries, e)
	r.bytes += e.size
	for len(r.entries) > 1 && (len(r.entries) > r.keep || r.bytes > ringBytes) {
		r.shift()
		dropped++
	}
	return dropped
}

// shift removes the oldest entry.
func (r *ring) shift() (Entry, bool) {
	if len(r.entries) == 0 {
		return Entry{}, false
	}
	e := r.entries[0]
	r.entries[0] = Entry{} // the array behind the slice lives on
	r.entries = r.entries[1:]
	r.bytes -= e.size
	return e, true
}

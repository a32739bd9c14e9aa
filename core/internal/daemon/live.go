package daemon

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/wire/guard"
)

// live is what a running daemon remembers of its changes. Safe for concurrent use.
type live struct {
	wishes *wishes
	turn   chan struct{} // holds one while the set of modules is being changed
	all    sync.WaitGroup

	mu       sync.Mutex // guards the rest
	notTaken map[string]admin.NotTaken
	// others are what a module's version before, or the one that is about to come, may publish.
	others map[string]*guard.Publishing
	// point is called before anything is done for a module that cannot be undone; nil: nobody wants to know.
	point func(module string) error
	// declared are the migrations that versions of a module have declared, and may have applied, by revision.
	declared map[string]map[string][]string
}

func newLive(w *wishes) *live {
	return &live{
		wishes: w, turn: make(chan struct{}, 1), notTaken: map[string]admin.NotTaken{}, others: map[string]*guard.Publishing{},
		declared: map[string]map[string][]string{},
	}
}

// alone does work when nobody else changes the set of modules. Once begun, it is done to its end, whether or not somebody waits:
// a change that was left half-way would be neither the old platform nor the new one.
func (l *live) alone(ctx context.Context, work func(context.Context)) error {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan struct{})
	l.all.Go(func() {
		defer close(done)
		defer func() { <-l.turn }()
		work(context.WithoutCancel(ctx))
	})
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// inTurn is alone for work that has a result, which is returned unless ctx ends before.
func inTurn[T any](ctx context.Context, l *live, work func(context.Context) (T, error)) (T, error) {
	var done T
	var workErr error
	err := l.alone(ctx, func(ctx context.Context) { done, workErr = work(ctx) })
	if err != nil { // who asked is gone, and what has begun goes on, and may write to done yet
		var none T
		return none, err
	}
	return done, workErr
}

// still does work while nobody changes the set of modules, and returns when it has ended.
func (l *live) still(ctx context.Context, work func() error) error {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
		return work()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait returns when no change is under way, and has none begin. The modules have been stopped, so that none lasts.
func (l *live) wait() {
	l.turn <- struct{}{}
	l.all.Wait()
}

// failed remembers what of a module is on disk and does not run.
func (l *live) failed(module, version string, why error) {
	what, fix := admin.SplitFix(why.Error())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notTaken[module] = admin.NotTaken{Version: version, At: time.Now(), Reason: what, Fix: fix}
}

func (l *live) taken(module string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.notTaken, module)
}

func (l *live) whatIsNotTaken(module string) *admin.NotTaken {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n, found := l.notTaken[module]; found {
		return &n
	}
	return nil
}

func (l *live) otherVersion(module string) *guard.Publishing {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.others[module]
}

// publishing has one more version of a module's events admitted, besides the installed one's.
func (l *live) publishing(module string, p *guard.Publishing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.others[module] = p
}

// pointing has reached call point, until it is called with nil.
func (l *live) pointing(point func(module string) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.point = point
}

// reached is called before the first migration of a module.
func (l *live) reached(module string) error {
	l.mu.Lock()
	point := l.point
	l.mu.Unlock()
	if point == nil {
		return nil
	}
	return point(module)
}

// declare remembers what a version is about to apply, and returns what other versions, which have failed, may have applied beyond
// that.
func (l *live) declare(mod *supervisor.Module, declared []ledger.Declared) (beyond []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := mod.Manifest.Name
	if l.declared[name] == nil {
		l.declared[name] = map[string][]string{}
	}
	ids := ledger.IDsOf(declared)
	l.declared[name][mod.Revision] = ids
	for revision, others := range l.declared[name] {
		if revision != mod.Revision {
			beyond = append(beyond, others...)
		}
	}
	return slices.DeleteFunc(beyond, func(id string) bool { return slices.Contains(ids, id) })
}

// settle forgets every version of a module's migrations but one: the database is where that one expects it, and no other is
// started again.
func (l *live) settle(mod *supervisor.Module) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := l.declared[mod.Manifest.Name][mod.Revision]
	l.declared[mod.Manifest.Name] = map[string][]string{mod.Revision: ids}
}

// forget forgets all of a module's migrations: it is gone, and whichever version comes next must know all that are applied.
func (l *live) forget(module string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.declared, module)
}

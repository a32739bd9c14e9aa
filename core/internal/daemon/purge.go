package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/bus/deadletter"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/problem"
)

// dataOrders is what operators can ask about what is kept of modules.
func (d *daemon) dataOrders() admin.Data {
	return admin.Data{Holdings: d.showHoldings, Export: d.exportAlone, Purge: d.purgeAlone}
}

func (d *daemon) showHoldings(ctx context.Context, module string) (all []admin.Holding, err error) {
	if err := d.purgeable(module); err != nil {
		return nil, err
	}
	all, err = d.holdings(ctx, module)
	goes := slices.ContainsFunc(all, func(h admin.Holding) bool { return !h.Stays })
	if err == nil && !goes && !d.onDisk(module) {
		return nil, admin.UnknownModule(module, d.installed().Names(), "platformd module ls")
	}
	return all, asDataProblem(err)
}

func (d *daemon) exportAlone(ctx context.Context, module string, to io.Writer) error {
	if err := d.purgeable(module); err != nil {
		return err
	}
	return asDataProblem(d.live.still(ctx, func() error { return d.export(ctx, module, to) }))
}

// purgeAlone is for an operator. Once it has begun, it goes on without one.
func (d *daemon) purgeAlone(ctx context.Context, module string, tell func(admin.PurgeStep)) error {
	var purgeErr error
	var telling sync.Mutex
	left := false
	err := d.live.alone(ctx, func(ctx context.Context) {
		if purgeErr = d.mayPurge(ctx, module); purgeErr != nil {
			return
		}
		purgeErr = d.purge(ctx, module, func(s admin.PurgeStep) {
			telling.Lock()
			defer telling.Unlock()
			if !left {
				tell(s)
			}
		})
	})
	telling.Lock()
	defer telling.Unlock()
	left = true // nobody listens any more
	if err != nil {
		return err
	}
	return asDataProblem(purgeErr)
}

// purgeable refuses names that no module has: what is the platform's own could be behind them.
func (d *daemon) purgeable(module string) error {
	if !storage.ValidModule(module) || manifest.Reserved(module) {
		return admin.UnknownModule(module, d.installed().Names(), "platformd module ls")
	}
	return nil
}

// mayPurge refuses a module that runs, or would with the next start.
func (d *daemon) mayPurge(ctx context.Context, module string) error {
	if d.live.wishes.isPurging(module) {
		return nil // it has begun
	}
	if _, err := d.showHoldings(ctx, module); err != nil {
		return err
	}
	if d.onDisk(module) && d.disabled(module) == nil {
		return refused("module %s is installed, and would make its data anew\nfix: platformd module disable %[1]s, or remove it first",
			module)
	}
	return nil
}

// purge removes what is kept of a module, and tells which step begins; tell may be nil. The caller has seen to it that the module
// does not run, and that nobody else changes the set of modules. What was begun is done again, from its beginning, by the next
// daemon, which keeps the module from running until then. What could bring other things back goes first.
func (d *daemon) purge(ctx context.Context, module string, tell func(admin.PurgeStep)) error {
	if err := d.live.wishes.setPurging(module, true); err != nil {
		return err
	}
	d.bridge.Leave(ctx, module)
	steps := d.purgeSteps()
	for i, step := range steps {
		if tell != nil {
			tell(admin.PurgeStep{Step: step.name, Number: i + 1, Of: len(steps)})
		}
		purgePoint(step.name)
		if err := step.run(ctx, module); err != nil {
			return fmt.Errorf("remove the %s of module %s: %w; left: %s", step.name, module, err, strings.Join(namesOf(steps[i:]), ", "))
		}
	}
	purgePoint("end")
	if !d.onDisk(module) {
		if err := d.live.wishes.set(module, false); err != nil {
			return err
		}
	}
	return d.live.wishes.setPurging(module, false)
}

// purgeStep removes one kind of what there is; what is gone already is no error.
type purgeStep struct {
	name string
	run  func(ctx context.Context, module string) error
}

func namesOf(steps []purgeStep) (names []string) {
	for _, s := range steps {
		names = append(names, s.name)
	}
	return names
}

// purgeSteps: dead letters come last of what the bus had, when none can be on its way any more.
func (d *daemon) purgeSteps() []purgeStep {
	return []purgeStep{
		{"queues", d.bus.Forget},
		{"database", func(ctx context.Context, module string) error {
			return d.migrator.Hold(ctx, module, func(ctx context.Context) error { return d.storage.Remove(ctx, module) })
		}},
		{"files", func(_ context.Context, module string) error { return os.RemoveAll(d.dataFolder(module)) }},
		{"cache", d.cache.Purge},
		{"grants", d.authz.Purge},
		{"tokens", d.auth.PurgeModule},
		{"dead letters", func(ctx context.Context, module string) error {
			_, err := d.letters.Purge(ctx, deadletter.Filter{Owner: module})
			return err
		}},
		{"crashes", func(_ context.Context, module string) error {
			if err := os.Remove(d.crashFile(module)); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		}},
		{"user", func(_ context.Context, module string) error {
			if d.sandbox == nil {
				return nil
			}
			return d.sandbox.Forget(module)
		}},
	}
}

// resumePurges carries on what an earlier daemon began, until all is gone or ctx ends.
func (d *daemon) resumePurges(ctx context.Context) {
	pauses := backoff.NewExponentialBackOff()
	for _, module := range d.live.wishes.begunPurges() {
		for {
			var err error
			if d.live.alone(ctx, func(ctx context.Context) { err = d.purge(ctx, module, nil) }) != nil {
				return
			}
			if err == nil {
				d.log.Info("what was kept of a module is removed, as was begun before", "module", module)
				break
			}
			d.log.Error("what is kept of a module cannot be removed yet; it is tried again", "module", module, "error", err)
			select {
			case <-time.After(pauses.NextBackOff()):
			case <-ctx.Done():
				return
			}
		}
	}
}

// asDataProblem lets the operator, who may see everything, see what went wrong.
func asDataProblem(err error) error {
	var public *problem.Problem
	if err == nil || errors.As(err, &public) || errors.Is(err, context.Canceled) {
		return err
	}
	what, fix := admin.SplitFix(err.Error())
	return problem.New(http.StatusConflict, "failed_precondition", what+"\nfix: "+cmp.Or(fix, "run the command again"))
}

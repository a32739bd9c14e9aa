package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/plugin-api/manifest"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// migrateTimeout bounds all of one module's migrations together; they may rewrite large tables.
const migrateTimeout = 30 * time.Minute

// permanentError marks a failure that a relaunch of the same files would meet again.
type permanentError struct {
	err             error
	holdsDependents bool
}

// Error implements error.
func (e *permanentError) Error() string { return e.err.Error() }

// Unwrap serves errors.Is and errors.As.
func (e *permanentError) Unwrap() error { return e.err }

func asPermanent(err error) (permanent *permanentError, why string) {
	if errors.As(err, &permanent) {
		return permanent, err.Error()
	}
	return nil, ""
}

// launch brings a new process from nothing to ready: handshake, Describe, Migrate, Init, Health. On an error the process is
// dead.
func (r *runner) launch(ctx context.Context) (*instance.Instance, error) {
	begin := time.Now()
	inst, err := r.deps.Launcher.Launch(ctx, r.spec())
	if err != nil {
		return nil, err
	}
	if err := r.makeReady(ctx, inst); err != nil {
		inst.Kill()
		return nil, err
	}
	r.mu.Lock()
	r.status.StartMillis = time.Since(begin).Milliseconds()
	r.mu.Unlock()
	return inst, nil
}

func (r *runner) spec() instance.Spec {
	m := r.mod.Manifest
	return instance.Spec{
		Name: m.Name, Executable: r.mod.Executable, Dir: r.mod.Dir, Env: r.mod.Env,
		Timeout:  time.Duration(m.Runtime.StartTimeout),
		Services: r.deps.Services(r.mod),
		Output:   func() io.WriteCloser { return r.deps.Output(m.Name) },
	}
}

func (r *runner) makeReady(ctx context.Context, inst *instance.Instance) error {
	described, err := r.describe(ctx, inst)
	if err != nil {
		return err
	}
	if err := r.migrate(ctx, inst, described.GetMigrations()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(r.mod.Manifest.Runtime.StartTimeout))
	defer cancel()
	m := r.mod.Manifest
	init := &modulev1.InitRequest{Name: m.Name, Version: m.Version, Config: r.mod.Config, Database: r.mod.Storage}
	if err := inst.Init(ctx, init); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if err := inst.Health(ctx); err != nil {
		return fmt.Errorf("health: %w", err)
	}
	return nil
}

func (r *runner) describe(ctx context.Context, inst *instance.Instance) (*modulev1.DescribeResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(r.mod.Manifest.Runtime.StartTimeout))
	defer cancel()
	described, err := inst.Describe(ctx)
	if err != nil {
		return nil, fmt.Errorf("describe: %w", err)
	}
	offer := manifest.Offer{Routes: described.GetRoutes(), Mount: described.GetMount(), Migrations: described.GetMigrations()}
	if err := r.mod.Manifest.Compare(offer); err != nil {
		return nil, &permanentError{err: err}
	}
	return described, nil
}

func (r *runner) migrate(ctx context.Context, inst *instance.Instance, ids []string) error {
	if r.mod.Storage == nil {
		return nil // nothing to migrate; without ids there may still be a ledger that wants some
	}
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	err := r.deps.Migrate(ctx, r.mod, inst, ids)
	if err == nil {
		return nil
	}
	select {
	case <-inst.Done(): // killed half-way: the step was undone, and a relaunch will run it again
		return fmt.Errorf("migrate: the process ended (%s): %w", inst.ExitReason(), err)
	default:
		return &permanentError{err: fmt.Errorf("migrate: %w", err), holdsDependents: true}
	}
}

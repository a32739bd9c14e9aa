package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/isolation"
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

// classify tells what a failed launch means for the next one, and whether modules that require this one must be held.
func classify(err error) (what fault, holdsDependents bool) {
	var (
		permanent *permanentError
		host      *instance.HostError
	)
	switch {
	case errors.As(err, &permanent):
		return faultPermanent, permanent.holdsDependents
	case errors.As(err, &host):
		return faultHost, false
	}
	return faultCrash, false
}

// launch brings a new process from nothing to ready: handshake, Describe, Migrate, Init, Health. All but the migrations
// share the manifest's startTimeout. It returns how long that took. On an error the process is dead.
func (r *runner) launch(ctx context.Context) (*instance.Instance, time.Duration, error) {
	begin := time.Now()
	inst, err := r.deps.Launcher.Launch(ctx, r.spec())
	if err != nil {
		return nil, 0, err
	}
	if err := r.makeReady(ctx, inst, r.startTimeout()-time.Since(begin)); err != nil {
		err = r.explain(inst, err)
		inst.Kill()
		return nil, 0, err
	}
	return inst, time.Since(begin), nil
}

func (r *runner) startTimeout() time.Duration {
	return time.Duration(r.mod.Manifest.Runtime.StartTimeout)
}

// explain says what really happened where gRPC only knows that nobody answers.
func (r *runner) explain(inst *instance.Instance, err error) error {
	switch {
	case died(inst, err):
		return fmt.Errorf("the process ended while it started (%s): %w", inst.ExitReason(), err)
	case status.Code(err) == codes.DeadlineExceeded, errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w (fix: see what the module waits for, or raise runtime.startTimeout, now %s)", err, r.startTimeout())
	}
	return err
}

// died tells whether err is the end of the process. The connection breaks a moment before the process can be waited for.
func died(inst *instance.Instance, err error) bool {
	return status.Code(err) == codes.Unavailable && exits(inst, noticeExit)
}

func (r *runner) spec() instance.Spec {
	spec := Spec(r.mod, r.deps.Output)
	spec.Services, spec.Calls = r.deps.Services(r.mod), r.deps.Calls(r.mod)
	return spec
}

// Spec is how a process of the module is started, without what it may ask of the core.
func Spec(mod *Module, output func(module string) io.WriteCloser) instance.Spec {
	m := mod.Manifest
	return instance.Spec{
		Name: m.Name, Executable: mod.Executable, Dir: mod.Dir, Env: mod.Env, Data: mod.Data,
		Provides: len(m.Services.Provides) > 0, Consumes: m.Services.Consumed(),
		Limits: isolation.Limits{
			Memory: int64(m.Runtime.Memory), CPU: m.Runtime.CPU, PIDs: int(m.Runtime.PIDs), OpenFiles: int(m.Runtime.OpenFiles),
		},
		Timeout: time.Duration(m.Runtime.StartTimeout), Concurrency: int(m.Runtime.Concurrency),
		Output: func() io.WriteCloser { return output(m.Name) },
	}
}

func (r *runner) makeReady(ctx context.Context, inst *instance.Instance, patience time.Duration) error {
	begin := time.Now()
	described, err := r.describe(ctx, inst, patience)
	if err != nil {
		return err
	}
	patience -= time.Since(begin)
	if err := r.migrate(ctx, inst, described.GetMigrations()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m := r.mod.Manifest
	init := &modulev1.InitRequest{Name: m.Name, Version: m.Version, Config: r.mod.Config}
	if m.Grants.Database {
		if init.Database, err = r.deps.Database(ctx, r.mod, inst); err != nil {
			return fmt.Errorf("database: %w", err)
		}
	}
	if err := inst.Init(ctx, init); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if err := inst.Health(ctx); err != nil {
		return fmt.Errorf("health: %w", err)
	}
	return r.verify(ctx, inst)
}

// verify refuses an instance that serves other gRPC services than its manifest says. That nobody answers may be over next time.
func (r *runner) verify(ctx context.Context, inst *instance.Instance) error {
	err := r.deps.Verify(ctx, r.mod, inst)
	switch {
	case err == nil:
		return nil
	case died(inst, err), status.Code(err) == codes.DeadlineExceeded:
		return fmt.Errorf("services: %w", err)
	}
	return &permanentError{err: err}
}

func (r *runner) describe(ctx context.Context, inst *instance.Instance, patience time.Duration) (
	*modulev1.DescribeResponse, error,
) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	described, err := inst.Describe(ctx)
	if err != nil {
		return nil, fmt.Errorf("describe: %w", err)
	}
	offer := manifest.Offer{
		Routes: described.GetRoutes(), Mount: described.GetMount(), Migrations: described.GetMigrations(),
		Subscriptions: described.GetSubscriptions(),
	}
	if err := r.mod.Manifest.Compare(offer); err != nil {
		return nil, &permanentError{err: err}
	}
	if err := r.deps.Agree(r.mod, described.GetConsumed()); err != nil {
		return nil, &permanentError{err: err}
	}
	return described, nil
}

func (r *runner) migrate(ctx context.Context, inst *instance.Instance, ids []string) error {
	if !r.mod.Manifest.Grants.Database {
		return nil // nothing to migrate; without ids there may still be a ledger that wants some
	}
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	err := r.deps.Migrate(ctx, r.mod, inst, ids)
	var host *instance.HostError
	switch {
	case err == nil:
		return nil
	case died(inst, err), errors.As(err, &host): // half-way: the step was undone, and a relaunch will run it again
		return fmt.Errorf("migrate: %w", err)
	}
	return &permanentError{err: fmt.Errorf("migrate: %w", err), holdsDependents: true}
}

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

// launch is one process on its way from nothing to ready, and what it is launched from.
type launch struct {
	deps Deps
	mod  *Module
	// successor says that instances of another version take requests meanwhile, and go on if this one fails.
	successor bool

	instance *instance.Instance
	took     time.Duration
	files    []func() // what the platform is to remember of the process once it takes requests
}

// run does it all: handshake, Describe, Migrate, Init, Health. All but the migrations share the manifest's startTimeout. On an
// error the process is dead.
func (l *launch) run(ctx context.Context) error {
	begin := time.Now()
	inst, err := l.deps.Launcher.Launch(ctx, l.spec())
	if err != nil {
		return err
	}
	l.instance = inst
	if err := l.makeReady(ctx, l.startTimeout()-time.Since(begin)); err != nil {
		err = l.explain(err)
		inst.Kill()
		return err
	}
	l.took = time.Since(begin)
	return nil
}

// file has the platform remember.
func (l *launch) file() {
	for _, file := range l.files {
		if file != nil {
			file()
		}
	}
}

func (l *launch) startTimeout() time.Duration { return l.mod.startTimeout() }

func (m *Module) startTimeout() time.Duration { return time.Duration(m.Manifest.Runtime.StartTimeout) }

// explain says what really happened where gRPC only knows that nobody answers.
func (l *launch) explain(err error) error {
	switch {
	case died(l.instance, err):
		return fmt.Errorf("the process ended while it started (%s): %w", l.instance.ExitReason(), err)
	case status.Code(err) == codes.DeadlineExceeded, errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w (fix: see what the module waits for, or raise runtime.startTimeout, now %s)", err, l.startTimeout())
	}
	return err
}

// died tells whether err is the end of the process. The connection breaks a moment before the process can be waited for.
func died(inst *instance.Instance, err error) bool {
	return status.Code(err) == codes.Unavailable && exits(inst, noticeExit)
}

func (l *launch) spec() instance.Spec {
	spec := Spec(l.mod, l.deps.Output)
	spec.Services, spec.Calls, spec.Publications = l.deps.Services(l.mod), l.deps.Calls(l.mod), l.deps.Publications(l.mod)
	return spec
}

// Spec is how a process of the module is started, without what it may ask of the core.
func Spec(mod *Module, output func(module string) io.WriteCloser) instance.Spec {
	m := mod.Manifest
	return instance.Spec{
		Name: m.Name, Executable: mod.Executable, SHA256: mod.SHA256, Revision: mod.Revision,
		Dir: mod.Dir, Env: mod.Env, Data: mod.Data,
		Provides: len(m.Services.Provides) > 0, Consumes: m.Services.Consumed(),
		Limits: isolation.Limits{
			Memory: int64(m.Runtime.Memory), CPU: m.Runtime.CPU, PIDs: int(m.Runtime.PIDs), OpenFiles: int(m.Runtime.OpenFiles),
		},
		Timeout: time.Duration(m.Runtime.StartTimeout), Concurrency: int(m.Runtime.Concurrency),
		Output: func() io.WriteCloser { return output(m.Name) },
	}
}

func (l *launch) makeReady(ctx context.Context, patience time.Duration) error {
	begin := time.Now()
	described, err := l.describe(ctx, patience)
	if err != nil {
		return err
	}
	patience -= time.Since(begin)
	if err := l.migrate(ctx, described.GetMigrations()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, inst := l.mod.Manifest, l.instance
	init := &modulev1.InitRequest{Name: m.Name, Version: m.Version, Config: l.mod.Config}
	if m.Grants.Database {
		if init.Database, err = l.deps.Database(ctx, l.mod, inst); err != nil {
			return fmt.Errorf("database: %w", err)
		}
	}
	if err := inst.Init(ctx, init); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if err := inst.Health(ctx); err != nil {
		return fmt.Errorf("health: %w", err)
	}
	return l.verify(ctx)
}

// verify refuses an instance that serves other gRPC services than its manifest says. That nobody answers may be over next time.
func (l *launch) verify(ctx context.Context) error {
	file, err := l.deps.Verify(ctx, l.mod, l.instance, l.successor)
	switch {
	case err == nil:
		l.files = append(l.files, file)
		return nil
	case died(l.instance, err), status.Code(err) == codes.DeadlineExceeded:
		return fmt.Errorf("services: %w", err)
	}
	return &permanentError{err: err}
}

func (l *launch) describe(ctx context.Context, patience time.Duration) (*modulev1.DescribeResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	described, err := l.instance.Describe(ctx)
	if err != nil {
		return nil, fmt.Errorf("describe: %w", err)
	}
	offer := manifest.Offer{
		Routes: described.GetRoutes(), Mount: described.GetMount(), Migrations: described.GetMigrations(),
		Subscriptions: described.GetSubscriptions(),
	}
	if err := l.mod.Manifest.Compare(offer); err != nil {
		return nil, &permanentError{err: err}
	}
	file, err := l.deps.Agree(l.mod, described.GetConsumed())
	if err != nil {
		return nil, &permanentError{err: err}
	}
	l.files = append(l.files, file)
	return described, nil
}

func (l *launch) migrate(ctx context.Context, ids []string) error {
	if !l.mod.Manifest.Grants.Database {
		return nil // nothing to migrate; without ids there may still be a ledger that wants some
	}
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	err := l.deps.Migrate(ctx, l.mod, l.instance, ids)
	var host *instance.HostError
	switch {
	case err == nil:
		return nil
	case died(l.instance, err), errors.As(err, &host): // half-way: the step was undone, and a relaunch will run it again
		return fmt.Errorf("migrate: %w", err)
	}
	return &permanentError{err: fmt.Errorf("migrate: %w", err), holdsDependents: true}
}

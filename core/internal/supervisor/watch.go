package supervisor

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/instance"
)

const (
	// probeEvery and probeTimeout bound how long a process that lives and does nothing goes unnoticed: 2.5 s.
	probeEvery   = 500 * time.Millisecond
	probeTimeout = 2 * time.Second
	// overslept is by how much a probe's deadline may come late before the machine, not the module, is to blame.
	overslept = 300 * time.Millisecond
	// noticeExit is how long after a broken connection the end of its process is still expected.
	noticeExit = 2 * time.Second
	// closingTime is the same for an instance that serves: its connection must not be broken while it lives.
	closingTime = 250 * time.Millisecond
)

// Reasons of an end that the process itself does not name.
const (
	whyHealthTimeout = "health timeout"
	whyConnection    = "it closed its connection to the core"
)

// watch waits for the end of an instance, sees to it that its whole process tree is dead, and reports the crash.
// Nothing is reported if ctx ends first: the instance is being stopped on purpose.
func (r *runner) watch(ctx context.Context, inst *instance.Instance) {
	why := r.observe(ctx, inst)
	if ctx.Err() != nil {
		return
	}
	// Before anything else: a caller must not wait for it.
	r.deps.Registry.Withdraw(r.name, inst, public(Starting), true)
	crash := Crash{At: time.Now(), PID: inst.PID(), InFlight: inst.InFlight()}
	if why == whyConnection && exits(inst, closingTime) {
		why = ""
	}
	inst.End()
	crash.Exit = inst.ExitReason()
	if crash.Reason = why; why == "" {
		crash.Reason = crash.Exit
	}
	crash.UptimeMillis = crash.At.Sub(inst.Started()).Milliseconds()
	r.report(func() { r.crashed(inst, &crash) })
	r.file(crash)
	inst.Kill()
}

// crashed lets the machine decide what follows. An instance that has been replaced meanwhile is nobody's loss.
func (r *runner) crashed(inst *instance.Instance, crash *Crash) {
	r.log().Error("the module's process ended", "reason", crash.Reason, "pid", crash.PID,
		"uptime", (time.Duration(crash.UptimeMillis) * time.Millisecond).String(), "in_flight", crash.InFlight)
	slot := slices.IndexFunc(r.slots, func(s running) bool { return s.instance == inst })
	if slot < 0 {
		return
	}
	r.slots[slot].instance = nil
	r.perform(r.machine.ended(slot, crash.At, crash.Reason))
	crash.Restarts = r.machine.relaunches
}

// observe returns at the first sign that the instance has ended: "" if its process has, else the reason to end it.
func (r *runner) observe(ctx context.Context, inst *instance.Instance) string {
	var beside sync.WaitGroup
	defer beside.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signs := make(chan string, 2)
	beside.Go(func() {
		if inst.Watch(ctx) != nil && ctx.Err() == nil {
			signs <- whyConnection
		}
	})
	if !r.attach {
		beside.Go(func() {
			if why := r.probe(ctx, inst); why != "" {
				signs <- why
			}
		})
	}
	select {
	case <-inst.Done():
		return ""
	case why := <-signs:
		return why
	case <-ctx.Done():
		return ""
	}
}

// probe asks again and again whether the instance can work, and returns why it must be ended. A process that a debugger
// holds is left alone.
func (r *runner) probe(ctx context.Context, inst *instance.Instance) string {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ""
		}
		if inst.Traced() {
			continue
		}
		if r.hangs(ctx, inst) && ctx.Err() == nil && !inst.Traced() {
			return whyHealthTimeout
		}
	}
}

// hangs asks once. What the module says that it lacks is shown to the operator; a restart would not bring it.
func (r *runner) hangs(ctx context.Context, inst *instance.Instance) bool {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := inst.Health(ctx)
	var unwell *instance.UnwellError
	switch {
	case err == nil:
		r.noteProblem("")
	case errors.As(err, &unwell):
		r.noteProblem(unwell.Problem)
	case status.Code(err) == codes.DeadlineExceeded, errors.Is(err, context.DeadlineExceeded):
		return time.Since(began) < probeTimeout+overslept
	}
	return false // any other failure of the connection shows in Watch
}

// noteProblem is told of every answer, and acts on what is new. It is called by one probe for each instance; if several
// disagree, the last one has its way.
func (r *runner) noteProblem(problem string) {
	r.mu.Lock()
	same := r.status.Problem == problem
	r.status.Problem = problem
	r.mu.Unlock()
	if same {
		return
	}
	if problem != "" {
		r.log().Warn("the module is not well", "problem", problem)
	} else {
		r.log().Info("the module is well again")
	}
}

// exits tells whether the process ends within a moment.
func exits(inst *instance.Instance, patience time.Duration) bool {
	moment := time.NewTimer(patience)
	defer moment.Stop()
	select {
	case <-inst.Done():
		return true
	case <-moment.C:
		return false
	}
}

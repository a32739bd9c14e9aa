//go:build linux

// Package footprint measures what platformd costs while nobody asks it anything: the start of a module, and memory.
//
// It must not compare: its numbers are platformd's own.
package footprint

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/platformd/platformd/scripts/bench/internal/contestant"
	"github.com/platformd/platformd/scripts/bench/internal/proc"
	"github.com/platformd/platformd/scripts/bench/internal/report"
)

const (
	starts   = 10               // launches of the module whose median is reported
	patience = 30 * time.Second // for anything of platformd's
	tick     = 20 * time.Millisecond
)

// daemon is a platformd that nobody loads.
type daemon struct {
	site     *contestant.Site
	platform *contestant.Platform
}

// Measure runs a daemon with the modules bench and hello, and looks at it.
func Measure(ctx context.Context, site *contestant.Site) (*report.Footprint, error) {
	address, err := contestant.FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	platform, err := site.StartPlatform(ctx, contestant.Platform{
		Name: "footprint", Binary: "link", Address: address, Samples: []string{"hello"},
	})
	if err != nil {
		return nil, err
	}
	defer platform.Stop()
	d := &daemon{site: site, platform: platform}
	footprint, err := d.measure(ctx)
	if err != nil {
		return nil, fmt.Errorf("measure starts and memory of platformd: %w", err)
	}
	return footprint, nil
}

func (d *daemon) measure(ctx context.Context) (*report.Footprint, error) {
	hello, err := d.awaitReady(ctx, "hello", 0)
	if err != nil {
		return nil, err
	}
	f := &report.Footprint{}
	if f.IdleModuleBytes, err = proc.RSS(hello.PID()); err != nil {
		return nil, err
	}
	if f.IdleCoreBytes, f.ThousandBytes, err = d.connections(ctx); err != nil {
		return nil, err
	}
	f.StartMillis, err = d.starts(ctx)
	return f, err
}

// starts kills the module bench again and again; the daemon tells how long each new process took to be ready.
func (d *daemon) starts(ctx context.Context) ([]int64, error) {
	running, err := d.awaitReady(ctx, "bench", 0)
	if err != nil {
		return nil, err
	}
	var took []int64
	for range starts {
		if err := syscall.Kill(running.PID(), syscall.SIGKILL); err != nil {
			return nil, fmt.Errorf("kill the module: %w", err)
		}
		if running, err = d.awaitReady(ctx, "bench", running.PID()); err != nil {
			return nil, err
		}
		took = append(took, running.StartMillis)
	}
	return took, nil
}

// awaitReady waits until a module is ready in another process than before.
func (d *daemon) awaitReady(ctx context.Context, name string, before int) (*contestant.Module, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		m, err := d.platform.Module(ctx, d.site, name)
		if err == nil && m.State == "ready" && m.PID() != 0 && m.PID() != before {
			return m, nil
		}
		if err == nil {
			err = fmt.Errorf("it is %s: %s", m.State, m.Reason)
		}
		select {
		case <-d.platform.Exited():
			return nil, fmt.Errorf("the daemon ended; its last words were:\n%s", d.platform.Complaint())
		case <-ctx.Done():
			return nil, fmt.Errorf("the module %s does not become ready: %w (fix: give it a quieter machine, or --footprint=false)",
				name, err)
		case <-ticker.C:
		}
	}
}

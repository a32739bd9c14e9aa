//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/platformd/platformd/scripts/bench/internal/contestant"
	"github.com/platformd/platformd/scripts/bench/internal/load"
	"github.com/platformd/platformd/scripts/bench/internal/proc"
	"github.com/platformd/platformd/scripts/bench/internal/report"
	"github.com/platformd/platformd/scripts/bench/internal/scenario"
)

// contest is everybody who takes part, running.
type contest struct {
	options    *options
	running    []*contestant.Running
	generators load.Generators
	progress   io.Writer
	results    []report.Scenario // in the order of options.scenarios
	rows       map[place]*report.Row
}

// place is where a contestant stands in a scenario.
type place struct{ scenario, contestant string }

// compare starts all contestants and measures them.
func compare(ctx context.Context, o *options, site *contestant.Site, progress io.Writer) ([]report.Scenario, error) {
	c := &contest{
		options: o, progress: progress,
		// Half of the machine is enough for wrk: a request costs it less than any contestant.
		generators: load.Generators{Binary: site.Generator(), Scripts: site.Dir, Threads: max(1, runtime.NumCPU()/2)},
	}
	if err := load.WriteScripts(site.Dir, o.scenarios); err != nil {
		return nil, err
	}
	defer c.stop()
	for i := range o.contestants {
		fmt.Fprintf(progress, "starting %s\n", o.contestants[i].Name)
		running, err := site.Start(ctx, &o.contestants[i])
		if err != nil {
			return nil, err
		}
		c.running = append(c.running, running)
	}
	if err := c.check(ctx); err != nil {
		return nil, err
	}
	c.prepare()
	random := rand.New(rand.NewPCG(o.seed, 0))
	for _, writes := range []bool{false, true} {
		if err := c.rounds(ctx, writes, random); err != nil {
			return nil, err
		}
	}
	return c.results, nil
}

// rounds measures the scenarios that write, or those that do not.
func (c *contest) rounds(ctx context.Context, writes bool, random *rand.Rand) error {
	for round := range c.options.rounds {
		for i := range c.options.scenarios {
			s := &c.options.scenarios[i]
			if s.Writes != writes {
				continue
			}
			if err := c.round(ctx, round, s, random.Perm(len(c.running))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *contest) stop() {
	for _, running := range slices.Backward(c.running) {
		running.Stop()
	}
}

// check lets everybody answer once, before anybody is measured.
func (c *contest) check(ctx context.Context) error {
	for _, running := range c.running {
		for i := range c.options.scenarios {
			s := &c.options.scenarios[i]
			if !running.Can(s) {
				continue
			}
			if err := load.Check(ctx, s, running.Target); err != nil {
				return fmt.Errorf("%s does not answer %s rightly: %w (fix: it, or leave it out with --only)", running.Name, s.ID, err)
			}
		}
	}
	return nil
}

// prepare lays the tables out: a row for whoever is made for the scenario's subject, even if it cannot do the scenario.
func (c *contest) prepare() {
	c.results, c.rows = make([]report.Scenario, len(c.options.scenarios)), map[place]*report.Row{}
	for i := range c.options.scenarios {
		s, result := &c.options.scenarios[i], &c.results[i]
		*result = report.Scenario{
			ID: s.ID, Title: s.Title, Events: s.Events(), Baseline: contestant.BaselineOf(s.Subject),
			Rows: make([]report.Row, 0, len(c.running)), // never moved: c.rows points into it
		}
		for _, running := range c.running {
			if running.Subject == s.Subject {
				result.Rows = append(result.Rows, report.Row{
					Contestant: running.Name, Against: running.Against, Rounds: []report.Round{},
				})
				c.rows[place{s.ID, running.Name}] = &result.Rows[len(result.Rows)-1]
			}
		}
	}
}

// round measures all contestants in one scenario, in the given order.
func (c *contest) round(ctx context.Context, round int, s *scenario.Scenario, order []int) error {
	for _, who := range order {
		running := c.running[who]
		if !running.Can(s) {
			continue
		}
		sample, cpu, err := c.one(ctx, s, running)
		if err == nil && s.Writes {
			err = rest(ctx, running.Processes)
		}
		if err != nil {
			return fmt.Errorf("%s in %s: %w", running.Name, s.ID, err)
		}
		measured := toRound(sample, cpu)
		fmt.Fprintf(c.progress, "round %d of %d  %-7s %-13s %10.0f/s  p99 %7.0f µs  CPU %7.1f µs  errors %d %s\n", round+1,
			c.options.rounds, s.ID, running.Name, measured.PerSecond, measured.P99Micros, measured.CPUMicros,
			measured.Errors, sample.Problem)
		row := c.rows[place{s.ID, running.Name}]
		row.Rounds = append(row.Rounds, measured)
	}
	return nil
}

// one warms a contestant up and measures it, and what CPU time it used.
func (c *contest) one(ctx context.Context, s *scenario.Scenario, running *contestant.Running) (
	sample load.Sample, cpu time.Duration, err error,
) {
	if warmup := c.options.warmup; warmup > 0 {
		if _, err := c.generators.Run(ctx, s, running.Target, warmup); err != nil {
			return load.Sample{}, 0, err
		}
	}
	before, err := proc.Read(running.Processes...)
	if err != nil {
		return load.Sample{}, 0, err
	}
	if sample, err = c.generators.Run(ctx, s, running.Target, c.options.duration); err != nil {
		return load.Sample{}, 0, err
	}
	after, err := proc.Read(running.Processes...)
	if err != nil {
		return load.Sample{}, 0, err
	}
	cpu, err = after.Since(before)
	return sample, cpu, err
}

const (
	// restLook is how often rest looks, restWait how long it does at most.
	restLook, restWait = 250 * time.Millisecond, time.Minute
	// restShare is how much of the time somebody who rests computes.
	restShare = 0.05
)

// rest waits until processes have nothing left to do, such as to have events handled: who comes next must not pay for that.
func rest(ctx context.Context, processes []*proc.Process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, restWait,
		fmt.Errorf("it still works %s after the load (fix: see what it does; or leave it out with --only)", restWait))
	defer cancel()
	look := time.NewTicker(restLook)
	defer look.Stop()
	before, err := proc.Read(processes...)
	for err == nil {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
		}
		var now proc.Meter
		if now, err = proc.Read(processes...); err != nil {
			return err
		}
		var used time.Duration
		if used, err = now.Since(before); err == nil && used.Seconds() < restShare*restLook.Seconds() {
			return nil
		}
		before = now
	}
	return err
}

func toRound(sample load.Sample, cpu time.Duration) report.Round {
	return report.Round{
		PerSecond: sample.PerSecond(), P50Micros: report.Micros(sample.P50), P99Micros: report.Micros(sample.P99),
		CPUMicros: report.Micros(cpu) / float64(max(1, sample.Requests)), Errors: sample.Errors,
	}
}

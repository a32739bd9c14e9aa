//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/platformd/platformd/scripts/bench/internal/contestant"
	"github.com/platformd/platformd/scripts/bench/internal/footprint"
	"github.com/platformd/platformd/scripts/bench/internal/proc"
	"github.com/platformd/platformd/scripts/bench/internal/report"
)

// run makes one run and prints it. What it started has ended, and its files are gone, when it returns.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if err := proc.Adopt(); err != nil {
		return err
	}
	site, err := contestant.NewSite(o.root)
	if err != nil {
		return err
	}
	defer func() { //nolint:contextcheck // databases are dropped after an interrupt, too
		proc.KillDescendants()
		err = errors.Join(err, site.Close())
	}()
	result, err := measure(ctx, o, site, stderr)
	if err != nil {
		return err
	}
	if o.write {
		if err := result.Write(o.root); err != nil {
			return err
		}
	}
	if o.json {
		return result.JSON(stdout)
	}
	return result.Table(stdout)
}

// measure builds, runs and asks the contestants.
func measure(ctx context.Context, o *options, site *contestant.Site, progress io.Writer) (*report.Result, error) {
	note, err := admit(ctx, o, site, progress)
	if err != nil {
		return nil, err
	}
	if err := site.CheckTools(o.contestants); err != nil {
		return nil, err
	}
	fmt.Fprintln(progress, "building")
	if err := site.Build(ctx, o.contestants); err != nil {
		return nil, err
	}
	result, err := describe(ctx, o, site)
	if err != nil {
		return nil, err
	}
	result.Note = note
	if result.Scenarios, err = compare(ctx, o, site, progress); err != nil {
		return nil, err
	}
	if o.footprint && takesPart(o.contestants, "link") {
		fmt.Fprintln(progress, "starts and memory of platformd")
		if result.Footprint, err = footprint.Measure(ctx, site); err != nil {
			return nil, err
		}
	}
	result.Summarize()
	return result, nil
}

// admit leaves out of the options whoever lacks something, or is asked nothing, and says so.
func admit(ctx context.Context, o *options, site *contestant.Site, progress io.Writer) (note string, err error) {
	admitted, problems := site.Admit(ctx, o.contestants)
	var notes []string
	for _, problem := range problems { // what it says is this machine's alone
		fmt.Fprintf(progress, "without %s: %s\n", problem.Server, problem.Err)
		notes = append(notes, "No "+problem.Server+" server answered, so that its contestants are missing.")
	}
	o.contestants = admitted
	o.match()
	if len(o.contestants) == 0 {
		return "", fmt.Errorf("nobody can take part (fix: choose scenarios and contestants that go together%s)", hint(problems))
	}
	return strings.Join(notes, " "), nil
}

func hint(problems []contestant.Problem) string {
	if len(problems) == 0 {
		return ""
	}
	return ", or start the servers: scripts/services start"
}

// describe says who and where we are.
func describe(ctx context.Context, o *options, site *contestant.Site) (*report.Result, error) {
	versions, err := site.Versions(ctx, o.contestants)
	if err != nil {
		return nil, err
	}
	result := &report.Result{
		Command: o.command, Date: time.Now().Format(time.DateOnly), Machine: report.ThisMachine(), Versions: versions,
		Settings: report.Settings{
			Rounds: o.rounds, Duration: o.duration.String(), Warmup: o.warmup.String(), Seed: o.seed,
		},
	}
	for _, c := range o.contestants {
		result.About = append(result.About, report.Introduction{Name: c.Name, What: c.What})
	}
	return result, nil
}

func takesPart(contestants []contestant.Contestant, name string) bool {
	for _, c := range contestants {
		if c.Name == name {
			return true
		}
	}
	return false
}

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/platformd/platformd/scripts/bench/internal/contestant"
	"github.com/platformd/platformd/scripts/bench/internal/scenario"
)

// errUsage ends the program with status 2; what is wrong has been printed.
var errUsage = errors.New("usage")

// options is what the command line says.
type options struct {
	root        string
	rounds      int
	duration    time.Duration
	warmup      time.Duration
	seed        uint64
	contestants []contestant.Contestant
	scenarios   []scenario.Scenario
	json        bool
	write       bool
	footprint   bool
	command     string // to run it again
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{command: command(args)}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.rounds, "rounds", 5, "how often everything is measured")
	flags.DurationVar(&o.duration, "duration", 4*time.Second, "length of a measurement, whole seconds")
	flags.DurationVar(&o.warmup, "warmup", time.Second, "load before each measurement, whole seconds; 0: none")
	flags.Uint64Var(&o.seed, "seed", 1, "of the order of contestants, which is shuffled in every round")
	flags.BoolVar(&o.write, "write", false, "write docs/benchmarks.md and docs/benchmarks.svg from this run")
	flags.BoolVar(&o.footprint, "footprint", true, "also measure starts and memory of platformd")
	quick := flags.Bool("quick", false, "one round of one second, without warm-up: to see that it works")
	only := flags.String("only", "", "contestants, separated by commas (default: all) of "+names(contestant.All(), contestantName))
	scenarios := flags.String("scenarios", "", "scenarios, separated by commas (default: all) of "+names(scenario.All(), scenarioID))
	format := flags.String("o", "table", "how to print: table or json")
	flags.StringVar(&o.root, "root", "", "root of the repository (default: found from the working directory)")
	if err := flags.Parse(args); err != nil {
		return nil, errors.Join(errUsage, err)
	}
	if *quick {
		o.rounds, o.duration, o.warmup = 1, time.Second, 0
	}
	o.json = *format == "json"
	err := errors.Join(o.choose(*only, *scenarios), o.check(*format, flags.Args()), o.findRoot())
	if err != nil {
		fmt.Fprintln(stderr, "error: "+err.Error())
		return nil, errUsage
	}
	return o, nil
}

func command(args []string) string {
	if len(args) == 0 {
		return "make bench"
	}
	return fmt.Sprintf("make bench ARGS=%q", strings.Join(args, " "))
}

func (o *options) check(format string, rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unknown argument %q (fix: give options only, see --help)", rest[0])
	case format != "json" && format != "table":
		return fmt.Errorf("unknown format %q (fix: -o table or -o json)", format)
	case o.rounds < 1 || o.rounds > 100:
		return fmt.Errorf("%d rounds cannot be run (fix: --rounds 1 to 100)", o.rounds)
	case o.duration < time.Second || o.duration > time.Minute || o.duration%time.Second != 0:
		return fmt.Errorf("wrk cannot load for %s (fix: --duration 1s to 60s, whole seconds)", o.duration)
	case o.warmup < 0 || o.warmup > time.Minute || o.warmup%time.Second != 0:
		return fmt.Errorf("wrk cannot warm up for %s (fix: --warmup 0s to 60s, whole seconds)", o.warmup)
	}
	return nil
}

func (o *options) choose(only, scenarios string) error {
	var err, problem error
	o.contestants, err = choose(only, contestant.All(), contestantName)
	o.scenarios, problem = choose(scenarios, scenario.All(), scenarioID)
	return errors.Join(err, problem)
}

// match drops the scenarios that nobody can do, and the contestants who can do none.
func (o *options) match() {
	o.scenarios = slices.DeleteFunc(slices.Clone(o.scenarios), func(s scenario.Scenario) bool {
		return !slices.ContainsFunc(o.contestants, func(c contestant.Contestant) bool { return c.Can(&s) })
	})
	o.contestants = slices.DeleteFunc(slices.Clone(o.contestants), func(c contestant.Contestant) bool {
		return !slices.ContainsFunc(o.scenarios, func(s scenario.Scenario) bool { return c.Can(&s) })
	})
}

func contestantName(c contestant.Contestant) string { return c.Name }

func scenarioID(s scenario.Scenario) string { return s.ID }

// names lists what one can choose from.
func names[T any](all []T, name func(T) string) string {
	var list []string
	for _, one := range all {
		list = append(list, name(one))
	}
	return strings.Join(list, ",")
}

// choose picks the named ones of all, in their order; an empty list picks all.
func choose[T any](list string, all []T, name func(T) string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	wanted := strings.Split(list, ",")
	for _, want := range wanted {
		if !slices.ContainsFunc(all, func(one T) bool { return name(one) == want }) {
			return nil, fmt.Errorf("there is no %q (fix: choose from %s)", want, names(all, name))
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(one T) bool { return !slices.Contains(wanted, name(one)) }), nil
}

// findRoot looks for go.work in the working directory and above.
func (o *options) findRoot() error {
	if o.root != "" {
		var err error
		o.root, err = filepath.Abs(o.root)
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			o.root = dir
			return nil
		}
	}
	return errors.New("this is not a checkout of platformd (fix: run `make bench` in one, or say --root)")
}

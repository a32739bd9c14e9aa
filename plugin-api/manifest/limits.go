package manifest

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"

	"github.com/google/jsonschema-go/jsonschema"
)

// The defaults of what one process may use.
const (
	defaultMemory      = Size(256 << 20)
	defaultCPU         = 1.0
	defaultPIDs        = Amount(256)
	defaultOpenFiles   = Amount(1024)
	defaultConcurrency = Amount(256)
)

// The least that a process can start with, and the most that makes sense.
const (
	minMemory    = Size(16 << 20)
	maxMemory    = Size(1 << 40)
	minCPU       = 0.01
	maxCPU       = 1024
	minPIDs      = 16 // Go's runtime alone has some ten threads
	maxPIDs      = 1 << 20
	minOpenFiles = 64
	maxOpenFiles = 1 << 20

	maxConcurrency = 1 << 16
	maxInstances   = 64
)

// Amount is a number of processes, files or requests. A parsed Amount is positive.
type Amount int

// UnmarshalText implements encoding.TextUnmarshaler. Its error is an *Error without a place.
func (a *Amount) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 31)
	if err != nil || n == 0 {
		return &Error{
			Code: "bad_amount", Message: fmt.Sprintf("%q is not a number above 0", text),
			Fix: "write it in decimal digits alone, for example 256",
		}
	}
	*a = Amount(n)
	return nil
}

func (r *Runtime) fillLimits() {
	if r.Instances == 0 {
		r.Instances = 1
	}
	if r.Concurrency == 0 {
		r.Concurrency = defaultConcurrency
	}
	if r.Memory == 0 {
		r.Memory = defaultMemory
	}
	if r.CPU == 0 {
		r.CPU = defaultCPU
	}
	if r.PIDs == 0 {
		r.PIDs = defaultPIDs
	}
	if r.OpenFiles == 0 {
		r.OpenFiles = defaultOpenFiles
	}
}

// checkLimits takes 0 for not given.
func checkLimits(errs *Errors, r Runtime) {
	if r.Memory != 0 && (r.Memory < minMemory || r.Memory > maxMemory) {
		errs.add("runtime.memory", "out_of_bounds", fmt.Sprintf("`runtime.memory` %s is out of bounds", r.Memory),
			fmt.Sprintf("write a size between %s and %s", minMemory, maxMemory))
	}
	if r.CPU != 0 && (math.IsNaN(r.CPU) || r.CPU < minCPU || r.CPU > maxCPU) {
		errs.add("runtime.cpu", "out_of_bounds", fmt.Sprintf("`runtime.cpu` %v is out of bounds", r.CPU),
			fmt.Sprintf("write a number of processors between %v and %d, for example 0.5", minCPU, maxCPU))
	}
	checkAmount(errs, "runtime.instances", r.Instances, [2]Amount{1, maxInstances})
	checkAmount(errs, "runtime.concurrency", r.Concurrency, [2]Amount{1, maxConcurrency})
	checkAmount(errs, "runtime.pids", r.PIDs, [2]Amount{minPIDs, maxPIDs})
	checkAmount(errs, "runtime.openFiles", r.OpenFiles, [2]Amount{minOpenFiles, maxOpenFiles})
}

func checkAmount(errs *Errors, field string, n Amount, between [2]Amount) {
	if n != 0 && (n < between[0] || n > between[1]) {
		errs.add(field, "out_of_bounds", fmt.Sprintf("`%s` %d is out of bounds", field, n),
			fmt.Sprintf("write a number between %d and %d", between[0], between[1]))
	}
}

// float copies a number that may have a fraction. An explicit 0 is not the same as nothing, and no limit anybody can mean.
func (d *decoder) float(field, text string, into reflect.Value) {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || value == 0 {
		d.errs.add(field, "bad_type", fmt.Sprintf("%s: %s is not a number above 0", label(field), text),
			"write it in decimal digits, for example 0.5")
		return
	}
	into.SetFloat(value)
}

func constrainLimits(p map[string]*jsonschema.Schema) {
	bound := func(key string, least, most float64, preset string) {
		p[key].Minimum, p[key].Maximum, p[key].Default = &least, &most, json.RawMessage(preset)
	}
	bound("instances", 1, maxInstances, "1")
	bound("concurrency", 1, maxConcurrency, strconv.Itoa(int(defaultConcurrency)))
	p["memory"].Default = json.RawMessage(`"` + defaultMemory.String() + `"`)
	bound("cpu", minCPU, maxCPU, strconv.FormatFloat(defaultCPU, 'g', -1, 64))
	bound("pids", minPIDs, maxPIDs, strconv.Itoa(int(defaultPIDs)))
	bound("openFiles", minOpenFiles, maxOpenFiles, strconv.Itoa(int(defaultOpenFiles)))
}

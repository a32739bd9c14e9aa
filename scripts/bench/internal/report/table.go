package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"
)

// absent is printed for what was not measured.
const absent = "–"

// JSON prints everything.
func (r *Result) JSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// Table prints one table per scenario, for people.
func (r *Result) Table(w io.Writer) error {
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		if _, err := fmt.Fprintf(w, "%s\n\n", s.Title); err != nil {
			return err
		}
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, cells := range s.cells() {
			for _, cell := range cells {
				fmt.Fprint(table, cell, "\t")
			}
			fmt.Fprintln(table)
		}
		if err := table.Flush(); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
	}
	return r.closing(w)
}

// closing prints what belongs to no scenario.
func (r *Result) closing(w io.Writer) error {
	if r.Note != "" {
		if _, err := fmt.Fprintln(w, r.Note); err != nil {
			return err
		}
	}
	for _, line := range r.Footprint.lines() {
		if _, err := fmt.Fprintf(w, "%s: %s\n", line[0], line[1]); err != nil {
			return err
		}
	}
	return nil
}

// cells is the table of a scenario, its head first.
func (s *Scenario) cells() [][]string {
	head := []string{"contestant", "requests/s", "p50", "p99", "CPU-µs/request", "errors", "ratio to " + s.Baseline}
	if s.Events > 0 {
		head = append(head, "events/s")
	}
	all := [][]string{head}
	for i := range s.Rows {
		row := &s.Rows[i]
		cells := row.cells()
		if s.Events > 0 {
			cells = append(cells, number(row.EventsPerSecond))
		}
		if !row.Measured() {
			for j := 1; j < len(cells); j++ {
				cells[j] = absent
			}
		}
		all = append(all, cells)
	}
	return all
}

func (r *Row) cells() []string {
	return []string{
		r.Contestant, number(r.PerSecond), latency(r.P50Micros), latency(r.P99Micros), number(r.CPUMicros),
		strconv.Itoa(r.Errors), r.ratio(),
	}
}

func (r *Row) ratio() string {
	if r.Ratio == nil {
		return absent
	}
	return fmt.Sprintf("%.2f", *r.Ratio)
}

// lines is empty if nothing was measured.
func (f *Footprint) lines() [][2]string {
	if f == nil {
		return nil
	}
	mib := func(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
	return [][2]string{
		{fmt.Sprintf("Start of a module, process to ready (median of %d)", len(f.StartMillis)), fmt.Sprintf("%d ms", f.StartMedian)},
		{"RSS of an idle module (hello)", mib(f.IdleModuleBytes)},
		{"RSS of the core, two modules, after some requests", mib(f.IdleCoreBytes)},
		{"RSS of the core per 1,000 idle client connections", mib(f.ThousandBytes)},
	}
}

// number prints three significant digits or more, with thousands separated.
func number(v float64) string {
	if v > 0 && v < 100 {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func latency(micros float64) string {
	d := time.Duration(micros * float64(time.Microsecond))
	switch {
	case d >= 100*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

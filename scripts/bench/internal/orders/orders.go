// Package orders is how a contestant is told to make its own load: what modules do among each other, nobody outside can do for
// them. An order comes over HTTP, and what came of it is fetched the same way.
//
// It must not know what the load consists of: that is a func.
package orders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/platformd/platformd/scripts/bench/internal/latency"
)

// answerPatience is how long a result is waited for, before the client is asked to ask again.
const answerPatience = 3 * time.Second

// Kind is what is measured; each load has its own.
type Kind string

// Order is what a contestant is asked to do.
type Order struct {
	Kind     Kind
	Callers  int
	Duration time.Duration
}

// Measure has callers make exchanges until the time is over. What has begun by then is finished, and does not count.
func (o *Order) Measure(ctx context.Context, one func(context.Context) error) latency.Sample {
	began := time.Now()
	end := began.Add(o.Duration)
	tallies := make([]latency.Tally, o.Callers)
	var callers sync.WaitGroup
	for i := range tallies {
		callers.Go(func() {
			for at := time.Now(); at.Before(end); at = time.Now() {
				if err := one(ctx); err != nil {
					tallies[i].Fail(err)
				} else if now := time.Now(); now.Before(end) {
					tallies[i].Add(now.Sub(at))
				}
			}
		})
	}
	callers.Wait()
	return latency.Summarize(tallies, o.Duration)
}

// Desk takes orders, one at a time.
type Desk struct {
	run func(context.Context, Order) (latency.Sample, error)

	mu     sync.Mutex
	result chan outcome // of the order that runs; nil: there is none
}

type outcome struct {
	sample latency.Sample
	err    error
}

// New has orders carried out by run.
func New(run func(context.Context, Order) (latency.Sample, error)) *Desk { return &Desk{run: run} }

// ServeHTTP takes an order by POST, and answers GET with its result, or with 204 if there is none yet. Orders may take longer
// than requests.
func (d *Desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := d.serve(w, r); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (d *Desk) serve(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodPost {
		var o Order
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			return fmt.Errorf("read the order: %w", err)
		}
		if err := d.begin(context.WithoutCancel(r.Context()), o); err != nil {
			return err
		}
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	sample, ready, err := d.end(r.Context())
	switch {
	case err != nil:
		return err
	case !ready:
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return json.NewEncoder(w).Encode(sample)
}

func (d *Desk) begin(ctx context.Context, o Order) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.result != nil {
		return errors.New("another order runs")
	}
	result := make(chan outcome, 1)
	d.result = result
	go func() {
		var out outcome
		out.sample, out.err = d.run(ctx, o)
		result <- out
	}()
	return nil
}

func (d *Desk) end(ctx context.Context) (sample latency.Sample, ready bool, err error) {
	d.mu.Lock()
	result := d.result
	d.mu.Unlock()
	if result == nil {
		return sample, false, errors.New("no order runs")
	}
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	select {
	case out := <-result:
		d.mu.Lock()
		defer d.mu.Unlock()
		d.result = nil
		return out.sample, true, out.err
	case <-ctx.Done():
		return sample, false, nil
	}
}

package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/platformd/platformd/scripts/bench/internal/eventload"
	"github.com/platformd/platformd/scripts/bench/internal/latency"
	"github.com/platformd/platformd/scripts/bench/internal/scenario"
)

// checkTime is how long a contestant publishes, to see that it can.
const checkTime = 50 * time.Millisecond

// runEvents has the contestant publish, and returns what it counted.
func runEvents(ctx context.Context, s *scenario.Scenario, to Target, d time.Duration) (latency.Sample, error) {
	kind := map[scenario.Kind]eventload.Kind{scenario.Publish: eventload.Publish, scenario.Deliver: eventload.Deliver}[s.Kind]
	return to.order(ctx, eventload.Order{Kind: kind, Callers: s.Connections, Duration: d})
}

// Settle waits until a contestant has done what a run left behind: events that were published, and are not handled yet.
func Settle(ctx context.Context, s *scenario.Scenario, to Target) error {
	if s.Subject != scenario.Events {
		return nil
	}
	_, err := to.order(ctx, eventload.Order{Kind: eventload.Settle})
	return err
}

// checkEvents publishes a few.
func checkEvents(ctx context.Context, s *scenario.Scenario, to Target) error {
	sample, err := runEvents(ctx, s, to, checkTime)
	switch {
	case err != nil:
		return err
	case sample.Errors > 0:
		return fmt.Errorf("%d events failed: %s", sample.Errors, sample.Problem)
	}
	return Settle(ctx, s, to)
}

// order gives an order, and asks until it is done.
func (t Target) order(ctx context.Context, o eventload.Order) (sample latency.Sample, err error) {
	body, err := json.Marshal(o)
	if err != nil {
		return sample, err
	}
	for method, want := http.MethodPost, http.StatusAccepted; ; method, want = http.MethodGet, http.StatusOK {
		status, answer, err := t.ask(ctx, method, body)
		switch {
		case err != nil:
			return sample, err
		case status == http.StatusOK && method == http.MethodGet:
			return sample, json.Unmarshal(answer, &sample)
		case status != want && status != http.StatusNoContent: // 204: not done yet
			return sample, fmt.Errorf("answered %d: %.200s", status, answer)
		}
	}
}

func (t Target) ask(ctx context.Context, method string, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+t.Address+eventload.Path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err = io.ReadAll(res.Body)
	return res.StatusCode, answer, err
}

package orders

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/platformd/platformd/scripts/bench/internal/latency"
)

// Give gives an order to the desk at a URL, and asks until it is done.
func Give(ctx context.Context, url string, o Order) (sample latency.Sample, err error) {
	body, err := json.Marshal(o)
	if err != nil {
		return sample, err
	}
	for method, want := http.MethodPost, http.StatusAccepted; ; method, want = http.MethodGet, http.StatusOK {
		status, answer, err := ask(ctx, method, url, body)
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

func ask(ctx context.Context, method, url string, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
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

package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/platformd/platformd/core/internal/bus"
)

// EventTypes returns every type of event that may be published, sorted.
func (c *Client) EventTypes(ctx context.Context) ([]EventType, error) {
	types, err := call[list[EventType]](ctx, c, request{method: http.MethodGet, path: "/v1/events/types"})
	return types.Items, err
}

// PublishEvent returns when the event is kept for every subscription that wants it.
func (c *Client) PublishEvent(ctx context.Context, e NewEvent) (bus.Event, error) {
	return call[bus.Event](ctx, c, request{method: http.MethodPost, path: "/v1/events", body: e})
}

// PendingEvents returns what is on its way.
func (c *Client) PendingEvents(ctx context.Context) (Pending, error) {
	return call[Pending](ctx, c, request{method: http.MethodGet, path: "/v1/events/pending"})
}

// TailEvents calls each with the events that are published from now on, until ctx ends, the daemon stops (nil), or each returns
// an error. A pattern of "" is every type.
func (c *Client) TailEvents(ctx context.Context, pattern string, each func(bus.Event) error) error {
	path := "/v1/events/tail"
	if pattern != "" {
		path += "?type=" + url.QueryEscape(pattern)
	}
	resp, err := c.send(ctx, request{method: http.MethodGet, path: path})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return eachLine(resp.Body, each)
}

// DeadLetters returns a page of dead letters, those that died last first. Of the filter IDs and All are not looked at.
func (c *Client) DeadLetters(ctx context.Context, f LetterFilter, limit int, after string) (Page[DeadLetter], error) {
	values := url.Values{}
	for name, value := range map[string]string{
		"subscription": f.Subscription, "module": f.Module, "type": f.Type, "reason": f.Reason, "after": after,
	} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if limit > 0 {
		values.Set("limit", strconv.Itoa(limit))
	}
	return call[Page[DeadLetter]](ctx, c, request{method: http.MethodGet, path: "/v1/dead-letters?" + values.Encode()})
}

// DeadLetter returns one dead letter. Where there is none, the error is a problem with the status 404.
func (c *Client) DeadLetter(ctx context.Context, id string) (DeadLetter, error) {
	return call[DeadLetter](ctx, c, request{method: http.MethodGet, path: "/v1/dead-letters/" + url.PathEscape(id)})
}

// RetryDeadLetters has dead letters delivered again and returns how many.
func (c *Client) RetryDeadLetters(ctx context.Context, f LetterFilter) (int64, error) {
	done, err := call[Count](ctx, c.patient(), request{method: http.MethodPost, path: "/v1/dead-letters/retry", body: f})
	return done.Count, err
}

// PurgeDeadLetters throws dead letters away and returns how many.
func (c *Client) PurgeDeadLetters(ctx context.Context, f LetterFilter) (int64, error) {
	done, err := call[Count](ctx, c, request{method: http.MethodPost, path: "/v1/dead-letters/purge", body: f})
	return done.Count, err
}

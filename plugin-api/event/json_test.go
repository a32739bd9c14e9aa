package event_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/event"
)

func TestJSON(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(full())
	require.NoError(t, err)
	require.JSONEq(t, `{"specversion":"1.0","id":"1","source":"/modules/blog","type":"blog.post.created","typeversion":1,
		"subject":"post/ü","partitionkey":"k","time":"2026-05-01T12:00:00.123456Z","datacontenttype":"application/json",
		"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","data":{"n":1}}`, string(text))
	for kind, data := range map[string]string{
		"":                         `[1]`,
		"application/problem+json": `"x"`,
		"application/json":         "no json",
		"text/plain":               "hello",
		"text/plain; charset=x":    "\xff",
		"image/png":                "\x89PNG",
	} {
		e := full()
		e.ContentType, e.Data = kind, []byte(data)
		text, err := json.Marshal(e)
		require.NoError(t, err)
		var back event.Event
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, e, back, kind)
	}
	require.Error(t, new(event.Event).UnmarshalJSON([]byte("{")))
}

func full() event.Event {
	return event.Event{
		ID: "1", Source: "/modules/blog", Type: "blog.post.created", Version: 1, Subject: "post/ü", Key: "k",
		Time: time.Date(2026, 5, 1, 12, 0, 0, 123456000, time.UTC), ContentType: "application/json", Data: []byte(`{"n":1}`),
		TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
}

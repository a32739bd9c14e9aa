package event_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/event"
	"github.com/platformd/platformd/plugin-api/problem"
)

func good() event.Event {
	return event.Event{
		ID: "1", Source: event.SourceOf("blog"), Type: "blog.post.created", Version: 1, Time: time.Unix(1, 0), Data: []byte(`{}`),
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	whole := good()
	whole.Subject, whole.Key, whole.ContentType, whole.TraceParent = "post/ö", "7", event.JSON, event.NewTraceParent()
	whole.Data = bytes.Repeat([]byte("x"), event.MaxData)
	require.NoError(t, whole.Check())
	long := strings.Repeat("x", event.MaxText+1)
	for name, c := range map[string]struct {
		spoil func(*event.Event)
		want  string
	}{
		"no id":                 {func(e *event.Event) { e.ID = "" }, "the event's id"},
		"id too long":           {func(e *event.Event) { e.ID = long }, "the event's id"},
		"id with a line feed":   {func(e *event.Event) { e.ID = "a\nb" }, "the event's id"},
		"no source":             {func(e *event.Event) { e.Source = "" }, "the event's source"},
		"no type":               {func(e *event.Event) { e.Type = "" }, "the event's type"},
		"type of one word":      {func(e *event.Event) { e.Type = "blog" }, "the event's type"},
		"type with a star":      {func(e *event.Event) { e.Type = "blog.*" }, "the event's type"},
		"type too long":         {func(e *event.Event) { e.Type = "blog." + long }, "the event's type"},
		"no version":            {func(e *event.Event) { e.Version = 0 }, "the event's version"},
		"no time":               {func(e *event.Event) { e.Time = time.Time{} }, "the event's time"},
		"subject that is bytes": {func(e *event.Event) { e.Subject = "\xff" }, "the event's subject"},
		"key too long":          {func(e *event.Event) { e.Key = long }, "the event's key"},
		"content type":          {func(e *event.Event) { e.ContentType = "a\x00b" }, "the event's content type"},
		"traceparent":           {func(e *event.Event) { e.TraceParent = long }, "the event's traceparent"},
		"too much data":         {func(e *event.Event) { e.Data = make([]byte, event.MaxData+1) }, "262145 bytes"},
	} {
		e := good()
		c.spoil(&e)
		err := e.Check()
		require.ErrorContains(t, err, c.want, name)
		require.ErrorContains(t, err, "(fix: ", name)
		var p *problem.Problem
		require.ErrorAs(t, err, &p, name)
	}
}

func TestStampedFillsInWhatIsMissing(t *testing.T) {
	t.Parallel()
	e := good()
	e.ID, e.Time = "", time.Time{}
	stamped := e.Stamped("trace")
	require.NotEmpty(t, stamped.ID)
	require.NotEqual(t, stamped.ID, e.Stamped("trace").ID)
	require.WithinDuration(t, time.Now(), stamped.Time, time.Minute)
	require.Equal(t, "trace", stamped.TraceParent)
	require.Empty(t, e.ID, "the event itself stays as it was")
	require.Equal(t, stamped, stamped.Stamped("other"))
	e.Time = time.Date(2026, 1, 1, 0, 0, 0, 1001, time.FixedZone("", 3600))
	require.Equal(t, time.Date(2025, 12, 31, 23, 0, 0, 1000, time.UTC), e.Stamped("").Time, "what survives a database")
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"blog.post.created", "blog.post.*", "blog.*", "a.b_2.c"} {
		require.NoError(t, event.CheckPattern(pattern), pattern)
	}
	for _, pattern := range []string{"", "*", "blog", "blog*", "blog.", "blog.*.created", "*.created", "blog.#", "Blog.*", "blog.**",
		"blog." + strings.Repeat("x", event.MaxText)} {
		require.ErrorContains(t, event.CheckPattern(pattern), "(fix: ", pattern)
	}
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"blog.post.created", "blog.post.created", true}, {"blog.post.created", "blog.post.created.twice", false},
		{"blog.*", "blog.post.created", true}, {"blog.*", "blog.post", true}, {"blog.post.*", "blog.post", false},
		{"blog.*", "blogs.post", false}, {"blog.post.*", "blog.posts.created", false},
	} {
		require.Equal(t, c.want, event.Matches(c.pattern, c.name), "%s %s", c.pattern, c.name)
	}
}

package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/problem"
)

func valid() Event {
	return Event{
		ID: "1", Source: "/modules/blog", Type: "blog.post.created", Version: 1, Subject: "post/ü", Key: "k",
		Time: time.Date(2026, 5, 1, 12, 0, 0, 123456000, time.UTC), ContentType: "application/json", Data: []byte(`{"n":1}`),
		TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	good := valid()
	require.NoError(t, good.Check())
	least := Event{ID: "1", Source: "s", Type: "a.b", Version: 1, Time: time.Now()}
	require.NoError(t, least.Check())
	long := strings.Repeat("x", maxText+1)
	for name, spoil := range map[string]func(*Event){
		"no id":             func(e *Event) { e.ID = "" },
		"long id":           func(e *Event) { e.ID = long },
		"no source":         func(e *Event) { e.Source = "" },
		"no type":           func(e *Event) { e.Type = "" },
		"one word":          func(e *Event) { e.Type = "blog" },
		"capitals":          func(e *Event) { e.Type = "Blog.post" },
		"pattern":           func(e *Event) { e.Type = "blog.*" },
		"empty word":        func(e *Event) { e.Type = "blog..post" },
		"long type":         func(e *Event) { e.Type = "a." + long },
		"no version":        func(e *Event) { e.Version = 0 },
		"negative version":  func(e *Event) { e.Version = -1 },
		"no time":           func(e *Event) { e.Time = time.Time{} },
		"newline":           func(e *Event) { e.Subject = "a\nb" },
		"no UTF-8":          func(e *Event) { e.Key = "\xff" },
		"escape":            func(e *Event) { e.ContentType = "\x1b[31m" },
		"long trace parent": func(e *Event) { e.TraceParent = long },
	} {
		bad := valid()
		spoil(&bad)
		var p *problem.Problem
		require.ErrorAs(t, bad.Check(), &p, name)
		require.Equal(t, 400, p.Status, name)
		require.Contains(t, p.Detail, "fix: ", name)
	}
	large := valid()
	large.Data = bytes.Repeat([]byte("x"), MaxData+1)
	var p *problem.Problem
	require.ErrorAs(t, large.Check(), &p)
	require.Equal(t, 413, p.Status)
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, event string
		want           bool
	}{
		{"blog.post.created", "blog.post.created", true},
		{"blog.post.created", "blog.post.created2", false},
		{"blog.post.*", "blog.post.created", true},
		{"blog.post.*", "blog.post.created.twice", true},
		{"blog.*", "blog.post.created", true},
		{"blog.*", "blogger.post.created", false},
		{"blog.*", "blog.", false},
		{"blog.post.*", "blog.post", false},
	} {
		require.Equal(t, c.want, Matches(c.pattern, c.event), "%+v", c)
	}
	for _, good := range []string{"a.b", "blog.*", "blog.post.*", "a_1.b2.c"} {
		require.NoError(t, CheckPattern(good))
	}
	for _, bad := range []string{"", "*", "blog", "blog.*.created", "Blog.*", "blog.#", "blog.post*", ".a", "a.", "a..b", "a.b\n"} {
		require.ErrorContains(t, CheckPattern(bad), "fix: ", "%q", bad)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(valid())
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
		e := valid()
		e.ContentType, e.Data = kind, []byte(data)
		text, err := json.Marshal(e)
		require.NoError(t, err)
		var back Event
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, e, back, kind)
	}
	require.Error(t, new(Event).UnmarshalJSON([]byte("{")))
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	require.Equal(t, Verdict{}, Ack())
	why := Failure{Reason: "r", Error: "e"}
	v := Retry(time.Second, why)
	require.Equal(t, Retried, v.Fate())
	require.Equal(t, time.Second, v.After())
	require.Equal(t, why, v.Why())
	require.Equal(t, Died, Dead(why).Fate())
	require.Equal(t, Released, Release().Fate())
	for fate, name := range map[Fate]string{Acked: "acked", Retried: "retried", Died: "died", Released: "released", 9: "unknown"} {
		require.Equal(t, name, fate.String())
	}
	require.False(t, errors.Is(ErrUnroutable, ErrRefused))
}

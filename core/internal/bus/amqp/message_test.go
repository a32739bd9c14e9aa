package amqp

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
)

// delivered is what the broker makes of a message.
func delivered(p *amqp091.Publishing) *amqp091.Delivery {
	return &amqp091.Delivery{
		Headers: p.Headers, ContentType: p.ContentType, MessageId: p.MessageId, Timestamp: p.Timestamp, Body: p.Body,
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	e := bus.Event{
		ID: "1", Source: "/modules/blog", Type: "blog.post.created", Version: 3, Subject: "s", Key: "k",
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), ContentType: "text/plain", Data: []byte("d"), TraceParent: "00-1-2-01",
	}
	message := encode(&e, "p")
	require.Equal(t, amqp091.Table{
		"cloudEvents_specversion": "1.0", "cloudEvents_id": "1", "cloudEvents_source": "/modules/blog",
		"cloudEvents_type": "blog.post.created", "cloudEvents_typeversion": int64(3), "cloudEvents_subject": "s",
		"cloudEvents_partitionkey": "k", "cloudEvents_time": "2026-01-02T03:04:05.000000006Z", "cloudEvents_traceparent": "00-1-2-01",
	}, message.Headers, "this is a protocol: others read it")
	require.Equal(t, amqp091.Persistent, message.DeliveryMode)
	got, err := decode(delivered(&message))
	require.NoError(t, err)
	require.Equal(t, e, got)

	message.Headers[headerAttempt], message.Headers[headerDue], message.Headers["x-death"] = int64(3), int64(1), []any{}
	moved := again(delivered(&message), amqp091.Table{headerAttempt: int64(4)})
	require.Equal(t, 4, attempt(delivered(&moved)))
	require.NotContains(t, moved.Headers, headerDue)
	require.NotContains(t, moved.Headers, "x-death")
	require.Equal(t, "p", moved.MessageId)
	got, err = decode(delivered(&moved))
	require.NoError(t, err)
	require.Equal(t, e, got)
}

func FuzzDecode(f *testing.F) {
	f.Add("1.0", "id", "1", "2026-01-02T03:04:05Z", []byte("{}"))
	f.Add("0.3", "", "-1", "x", []byte(nil))
	f.Fuzz(func(t *testing.T, spec, id, version, at string, body []byte) {
		m := &amqp091.Delivery{Body: body, Headers: amqp091.Table{
			"cloudEvents_specversion": spec, "cloudEvents:id": []byte(id), "cloudEvents_typeversion": version, "cloudEvents_time": at,
			"cloudEvents_source": "/s", "cloudEvents_type": "a.b",
		}}
		e, err := decode(m)
		if err != nil {
			return
		}
		require.NoError(t, e.Check())
		written := encode(&e, "p")
		back, err := decode(delivered(&written))
		require.NoError(t, err)
		if e.ContentType == "" {
			e.ContentType = defaultContent
		}
		require.Equal(t, e, back)
	})
}

// topic is what a topic exchange does.
func topic(key, words []string) bool {
	switch {
	case len(key) == 0:
		return len(words) == 0
	case key[0] == "#":
		return topic(key[1:], words) || len(words) > 0 && topic(key, words[1:])
	default:
		return len(words) > 0 && (key[0] == "*" || key[0] == words[0]) && topic(key[1:], words[1:])
	}
}

func TestBindings(t *testing.T) {
	t.Parallel()
	word := func() string { return []string{"a", "b", "ab", "c_1"}[rand.IntN(4)] }
	words := func() []string {
		all := []string{word()}
		for rand.IntN(3) > 0 {
			all = append(all, word())
		}
		return all
	}
	matched := 0
	for range 20_000 {
		pattern, eventType := strings.Join(words(), "."), append([]string{word()}, words()...)
		if rand.IntN(2) == 0 {
			pattern += ".*"
		}
		if bus.CheckPattern(pattern) != nil {
			continue
		}
		want := bus.Matches(pattern, strings.Join(eventType, "."))
		require.Equal(t, want, topic(strings.Split(binding(pattern), "."), eventType), "%s %s", pattern, eventType)
		if want {
			matched++
		}
	}
	require.Greater(t, matched, 200)
}

func TestNames(t *testing.T) {
	t.Parallel()
	n, seen := names("platformd"), map[string]bool{}
	long := "blog." + strings.Repeat("a", 240)
	for _, s := range []bus.Subscription{
		{Module: "notify", Pattern: "blog.*"}, {Module: "notify", Pattern: "blog.all"}, {Module: "notify", Pattern: "blog.post.*"},
		{Module: strings.Repeat("m", 41), Pattern: long + "b.*"}, {Module: strings.Repeat("m", 41), Pattern: long + "c.*"},
	} {
		all := append(Queues("platformd", []bus.Subscription{s})[1:], n.events(), n.tail(), n.ask(), n.dead())
		for i, name := range all {
			require.LessOrEqual(t, len(name), 255)
			require.True(t, i >= len(all)-4 || !seen[name], name)
			seen[name] = true
		}
		if len(s.Pattern) < 100 {
			require.Equal(t, s.ID(), n.subscription(n.queue(s)))
		}
		read, ok := parse(s.ID())
		require.True(t, ok)
		require.Equal(t, s, read)
	}
	require.Equal(t, "platformd.sub.notify.blog.#", n.queue(bus.Subscription{Module: "notify", Pattern: "blog.*"}))
	require.Equal(t, "platformd.retry.notify.blog.#.30s", n.retry(bus.Subscription{Module: "notify", Pattern: "blog.*"}, levels[3]))
	require.Equal(t, "platformd.retry.notify.blog.#.10m", n.retry(bus.Subscription{Module: "notify", Pattern: "blog.*"}, levels[5]))
}

func TestLevels(t *testing.T) {
	t.Parallel()
	for after, want := range map[time.Duration]time.Duration{
		-1: 100 * time.Millisecond, 0: 100 * time.Millisecond, 100 * time.Millisecond: 100 * time.Millisecond,
		101 * time.Millisecond: time.Second, 10 * time.Minute: 10 * time.Minute, time.Hour: 10 * time.Minute,
	} {
		require.Equal(t, want, level(after), after)
	}
}

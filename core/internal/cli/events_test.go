package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/deadletter"
	"github.com/platformd/platformd/core/internal/bus/embedded"
)

// events makes what the API says of events: a bus, on which notify subscribes to blog.*, and dead letters.
func (d *daemon) events(ctx context.Context, t *testing.T) admin.Events {
	t.Helper()
	carrier, err := embedded.New(context.WithoutCancel(ctx), d.store.Core(), embedded.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, carrier.Close()) })
	require.NoError(t, carrier.Declare(ctx, "notify", []bus.Subscription{{Module: "notify", Pattern: "blog.*"}}))
	d.letters, err = deadletter.New(ctx, d.store.Core())
	require.NoError(t, err)
	return admin.Events{
		Bus: carrier, Publish: carrier.Publish, Letters: d.letters,
		Admit: func(e bus.Event) (bus.Event, error) { return e, e.Check() },
		Types: func() []admin.EventType {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.types
		},
		Outboxes: func() map[string]int64 { return map[string]int64{"blog": 7} },
	}
}

// letter keeps a dead letter; later ones died later.
func (d *daemon) letter(t *testing.T, n int, text, reason string) string {
	t.Helper()
	id := fmt.Sprint("letter-", n)
	require.NoError(t, d.letters.Keep(t.Context(), bus.DeadLetter{
		ID: id, Subscription: "notify:blog.*", Attempts: 3, At: time.Unix(int64(n), 0).UTC(),
		Failure: bus.Failure{Reason: reason, Error: text},
		Event: bus.Event{
			ID: text, Source: text, Type: "blog.made", Version: 1, Subject: text, Key: text, Time: time.Unix(1, 0).UTC(),
			ContentType: text, Data: []byte(text),
		},
	}))
	return id
}

func TestEventTypesAndPending(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	require.Equal(t, "[]\n", d.run(t, "events", "types", "-o", "json").out)
	d.set(func(d *daemon) {
		d.types = []admin.EventType{
			{Type: "blog.made", Version: 2, Module: "blog", Subscribers: []string{"notify:blog.*", "shop:blog.made"}},
			{Type: "blog.unmade", Version: 1, Module: "blog"},
		}
	})
	r := d.run(t, "events", "types")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Regexp(t, `(?m)^blog\.made +2 +blog +notify:blog\.\* shop:blog\.made$`, r.out)
	require.Regexp(t, `(?m)^blog\.unmade +1 +blog +-$`, r.out)
	require.Len(t, decode[[]admin.EventType](t, d.run(t, "events", "types", "-o", "json").out), 2)

	require.Regexp(t, `(?m)^notify:blog\.\* +0 +0 +0 +-$`, d.run(t, "events", "pending").out)
	require.Equal(t, ExitOK, d.run(t, "events", "publish", "blog.made").code)
	d.letter(t, 1, "broken", bus.ReasonAttempts)
	r = d.run(t, "events", "pending")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Regexp(t, `(?m)^notify:blog\.\* +1 +0 +0 +\d+s$`, r.out)
	require.Regexp(t, `(?m)^outbox of blog +7 +- +- +-$`, r.out)
	require.Regexp(t, `(?m)^dead letters +1 +- +- +-$`, r.out)
	pending := decode[admin.Pending](t, d.run(t, "events", "pending", "-o", "json").out)
	require.EqualValues(t, 1, pending.DeadLetters)
}

func TestEventPublish(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	file := filepath.Join(t.TempDir(), "data.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"n":1}`), 0o600))
	r := d.run(t, "events", "publish", "blog.made", "--data", "@"+file, "--key", "k", "--id", "mine", "--version", "2", "-o", "json")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Contains(t, r.err, "published mine")
	require.Contains(t, r.out, `"blog.made"`)
	r = d.run(t, "events", "publish", "blog.made", "--data", `{}`)
	require.Equal(t, ExitOK, r.code, r.err)
	require.Empty(t, r.out)
	large := filepath.Join(t.TempDir(), "large.json")
	require.NoError(t, os.WriteFile(large, []byte(`"`+strings.Repeat("x", bus.MaxData-2)+`"`), 0o600))
	require.Equal(t, ExitOK, d.run(t, "events", "publish", "blog.made", "--data", "@"+large).code)
	require.NoError(t, os.WriteFile(large, make([]byte, bus.MaxData+1), 0o600))
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{ExitUsage, "arg", nil},
		{ExitUsage, "arg", []string{"blog.made", "more"}},
		{ExitError, "not JSON", []string{"blog.made", "--data", "{"}},
		{ExitError, "no such file", []string{"blog.made", "--data", "@" + file + "x"}},
		{ExitError, "262144 bytes", []string{"blog.made", "--data", "@" + large}},
		{ExitError, "no subscription wants", []string{"shop.sold"}},
		{ExitError, "the event's type", []string{"blog.*"}},
	} {
		r := d.run(t, append([]string{"events", "publish"}, c.args...)...)
		require.Equal(t, c.code, r.code, "%v: %s", c.args, r.err)
		require.Contains(t, r.err, c.says)
		requireFix(t, r, "")
	}
}

func TestEventTail(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	require.Equal(t, ExitUsage, d.run(t, "events", "tail", "a.b", "c.d").code)
	r := d.run(t, "events", "tail", "nonsense")
	require.Equal(t, ExitError, r.code)
	requireFix(t, r, "give one")
	for _, format := range []string{"table", "json"} {
		ctx, cancel := context.WithCancel(t.Context())
		seen := &watched{want: "\n", found: make(chan struct{})}
		code := make(chan int, 1)
		go func() {
			code <- run(ctx, []string{"events", "tail", "blog.*", "-o", format, "--data-dir", d.dir}, Deps{
				Out: seen, Err: seen, Env: []string{},
			})
		}()
		require.Eventually(t, func() bool { // it shows what is published from when it has begun
			r := d.run(t, "events", "publish", "blog.made", "--data", `{"n":1}`, "--id", "this")
			seen.mu.Lock()
			defer seen.mu.Unlock()
			return r.code == ExitOK && seen.done
		}, deadline, 10*time.Millisecond)
		cancel()
		require.Equal(t, ExitOK, requireSoon(t, code), "Ctrl-C is how it ends")
		first, _, _ := strings.Cut(seen.text.String(), "\n")
		if format == "json" {
			require.Equal(t, "this", decode[bus.Event](t, first).ID)
			continue
		}
		require.Regexp(t, `^\S+ \S+  blog\.made  /platform/operator  -  this  \{"n":1\}$`, first)
	}
}

func TestDeadLetterCommands(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	require.Equal(t, "[]\n", d.run(t, "dlq", "ls", "-o", "json").out)
	d.letter(t, 1, "broken\nstack", bus.ReasonAttempts)
	d.letter(t, 2, "broken", bus.ReasonDropped)
	d.letter(t, 3, "broken", bus.ReasonDropped)
	r := d.run(t, "dlq", "ls")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Regexp(t, `(?m)^letter-1 +1970-\S+ \S+ +notify:blog\.\* +blog\.made +attempts +3 +broken…$`, r.out)
	r = d.run(t, "dlq", "ls", "--limit", "2")
	require.Contains(t, r.err, "--after letter-2")
	require.NotContains(t, r.out, "letter-1")
	require.Contains(t, d.run(t, "dlq", "ls", "--after", "letter-2").out, "letter-1")
	require.Len(t, decode[[]admin.DeadLetter](t, d.run(t, "dlq", "ls", "--reason", "dropped", "-o", "json").out), 2)
	r = d.run(t, "dlq", "show", "letter-1")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Regexp(t, `(?m)^last error +broken\n +stack$`, r.out)
	require.Equal(t, "letter-1", decode[admin.DeadLetter](t, d.run(t, "dlq", "show", "letter-1", "-o", "json").out).ID)

	for _, args := range [][]string{
		{"show", "absent"}, {"retry", "absent"}, {"purge", "letter-1", "absent"}, {"ls", "--after", "absent"},
	} {
		r := d.run(t, append([]string{"dlq"}, args...)...)
		require.Equal(t, ExitNotFound, r.code, "%v: %s", args, r.err)
		requireFix(t, r, "see `platformd dlq ls`")
	}
	for _, args := range [][]string{
		{"show"}, {"retry"}, {"purge"}, {"retry", "--all", "letter-1"}, {"purge", "--all", "--reason", "dropped"}, {"ls", "x"},
	} {
		r := d.run(t, append([]string{"dlq"}, args...)...)
		require.Equal(t, ExitUsage, r.code, "%v: %s", args, r.err)
		requireFix(t, r, "")
	}
	d.letter(t, 4, "event", bus.ReasonAttempts)
	require.Contains(t, d.run(t, "dlq", "retry", "letter-4").err, "delivered again: 1\n")
	require.Contains(t, d.run(t, "dlq", "purge", "letter-2").err, "thrown away: 1\n")
	require.EqualValues(t, 1, decode[admin.Count](t, d.run(t, "dlq", "purge", "--reason", "dropped", "-o", "json").out).Count)
	require.Contains(t, d.run(t, "dlq", "purge", "--all").err, "thrown away: 1\n")
	require.Equal(t, "[]\n", d.run(t, "dlq", "ls", "-o", "json").out)
}

// What an event and its failure say is shown, not obeyed.
func TestEventsCannotDriveTheTerminal(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	d.set(func(d *daemon) {
		d.types = []admin.EventType{{Type: evil, Version: 1, Module: evil, Subscribers: []string{evil}}}
	})
	d.letter(t, 1, evil, evil)
	var line strings.Builder
	for _, format := range []string{formatTable, formatJSON} {
		a := &app{out: &screen{Writer: &line}, format: format}
		require.NoError(t, a.printEvent(bus.Event{ID: evil, Source: evil, Type: evil, Subject: evil, Data: []byte(evil)}))
		for _, args := range [][]string{
			{"events", "types"}, {"events", "pending"}, {"dlq", "ls"}, {"dlq", "show", "letter-1"}, {"dlq", "show", evil},
			{"dlq", "retry", evil}, {"dlq", "retry", "--all"}, {"events", "publish", evil}, {"events", "tail", evil},
		} {
			r := d.run(t, append(args, "-o", format)...)
			require.NotEmpty(t, r.out+r.err)
			require.False(t, strings.ContainsAny(r.out+r.err, "\x1b\x07\u009b\u202e\t\r\x7f"), "%q: %q", args, r.out+r.err)
		}
	}
	require.False(t, strings.ContainsAny(line.String(), "\x1b\x07\u009b\u202e\t\r\x7f"), "%q", line.String())
}

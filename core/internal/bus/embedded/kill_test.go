package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/bustest"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/storage"
)

// victimEnv has this binary be a daemon that is killed. Its value is the data folder, and a URL or none after a line's end.
const victimEnv = "PLATFORMD_TEST_BUS_VICTIM"

// victim publishes and consumes until it is killed. It tells of what was acknowledged, and of what it has handled.
func victim() {
	dir, url, _ := strings.Cut(os.Getenv(victimEnv), "\n")
	ctx := context.Background()
	store, err := storage.Open(ctx, storage.Options{DataDir: dir, URL: config.SecretURL(url), MaxConns: 3})
	must(err)
	b, err := New(ctx, store.Core(), Options{Daemon: store.DaemonID()})
	must(err)
	must(b.Declare(ctx, "notify", []bus.Subscription{subscription}))
	var mu sync.Mutex
	tell := func(what string, e bus.Event) {
		mu.Lock()
		defer mu.Unlock()
		_, err := fmt.Fprintln(os.Stdout, what, e.ID)
		must(err)
	}
	for range 4 {
		go func() { // until the process ends
			for {
				e := event(0, "")
				must(bustest.PublishOne(ctx, b, e))
				tell("published", e)
			}
		}()
	}
	must(b.Consume(ctx, subscription, bus.Consumer{Concurrency: 3, Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
		tell("handled", d.Event)
		return bus.Ack()
	}}))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// heard is what victims told.
type heard struct{ published, handled map[string]bool }

func (h *heard) line(line string) {
	switch what, id, _ := strings.Cut(line, " "); what {
	case "published":
		h.published[id] = true
	case "handled":
		h.handled[id] = true
	}
}

// kill starts a victim and kills it after it has told so many lines.
func (h *heard) kill(t *testing.T, place string, lines int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	process := exec.CommandContext(ctx, os.Args[0])
	process.Env = append(os.Environ(), victimEnv+"="+place)
	process.Stderr = os.Stderr
	out, err := process.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, process.Start())
	scanner := bufio.NewScanner(out)
	for n := 0; scanner.Scan(); n++ {
		if h.line(scanner.Text()); n == lines {
			require.NoError(t, process.Process.Kill())
		}
	}
	var killed *exec.ExitError
	require.ErrorAs(t, process.Wait(), &killed)
	require.Equal(t, -1, killed.ExitCode(), "it was killed, and did not end of itself")
}

// Nothing that was acknowledged is lost, however often a daemon that publishes and consumes is killed.
func TestKilledProcesses(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(t *testing.T) string{
		"sqlite":     func(*testing.T) string { return "" },
		"postgresql": func(t *testing.T) string { return cluster.Database(t, pgtest.CreateRole) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, url := t.TempDir(), url(t)
			h := &heard{published: map[string]bool{}, handled: map[string]bool{}}
			for range 8 {
				h.kill(t, dir+"\n"+url, 20+rand.IntN(300))
			}
			require.Greater(t, len(h.published), 100)
			db := core(t, storage.Options{DataDir: dir, URL: config.SecretURL(url), MaxConns: 3})
			b, err := New(t.Context(), db, Options{Lease: time.Second})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, b.Close()) })
			require.NoError(t, db.Exec("UPDATE bus_holders SET expires_at = 0").Error)
			b.mu.Lock()
			b.due.sweep = time.Now()
			b.mu.Unlock()
			b.wake()
			var mu sync.Mutex
			consume(t, b, subscription, bus.Consumer{Concurrency: 8, Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
				mu.Lock()
				defer mu.Unlock()
				h.handled[d.Event.ID] = true
				return bus.Ack()
			}})
			empty(t, b)
			mu.Lock()
			defer mu.Unlock()
			for id := range h.published {
				require.True(t, h.handled[id], "event %s was acknowledged, and is lost", id)
			}
		})
	}
}

// While the database is away, publishing says so, soon; consuming goes on of itself when it is back.
func TestTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	var own pgtest.Cluster
	t.Cleanup(func() { require.NoError(t, own.Stop()) })
	url := own.Database(t, pgtest.CreateRole)
	db := core(t, storage.Options{DataDir: t.TempDir(), URL: config.SecretURL(url), MaxConns: 3})
	b, err := New(t.Context(), db, Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{subscription}))
	require.Nil(t, b.Publish(t.Context(), events(2)))
	taken, let := hold(t, b, subscription, bus.Ack())
	require.Equal(t, "0", next(t, taken).Event.Subject)
	for range 2 {
		own.Down(t)
		began := time.Now()
		err = bustest.PublishOne(t.Context(), b, event(9, ""))
		require.ErrorIs(t, err, bus.ErrUnavailable)
		require.Less(t, time.Since(began), 25*time.Second)
		_, err = b.Pending(t.Context())
		require.ErrorIs(t, err, bus.ErrUnavailable)
		require.ErrorIs(t, b.Declare(t.Context(), "notify", nil), bus.ErrUnavailable)
		let() // its verdict waits for the database
		own.Require(t)
		require.Eventually(t, func() bool {
			err := bustest.PublishOne(t.Context(), b, event(1, ""))
			require.True(t, err == nil || errors.Is(err, bus.ErrUnavailable), "%v", err)
			return err == nil
		}, patience, 50*time.Millisecond)
		d := next(t, taken)
		for d.Event.Subject == "0" { // a server that crashes may forget that it was taken
			d = next(t, taken)
		}
		require.Equal(t, "1", d.Event.Subject)
		empty(t, b)
	}
}

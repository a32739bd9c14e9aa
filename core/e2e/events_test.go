package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
)

// onEachBus runs a test with the embedded bus and with RabbitMQ, under a name on the broker that nobody else has.
func onEachBus(t *testing.T, test func(t *testing.T, env []string)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { t.Parallel(); test(t, nil) })
	t.Run("rabbitmq", func(t *testing.T) { t.Parallel(); test(t, brokerEnv(t)) })
}

// brokerURL is that of the machine's broker.
func brokerURL(t *testing.T) string {
	t.Helper()
	url := os.Getenv("PLATFORMD_TEST_RABBITMQ")
	if url == "" {
		if os.Getenv("PLATFORMD_TEST_SERVICES") == "required" {
			t.Fatal("PLATFORMD_TEST_RABBITMQ is not set, and services are required")
		}
		t.Skip("no RabbitMQ: set PLATFORMD_TEST_RABBITMQ")
	}
	return url
}

// brokerEnv points a platform to the broker.
func brokerEnv(t *testing.T) []string {
	t.Helper()
	url := brokerURL(t)
	prefix := "pde2e-" + uuid.NewString()[:8]
	t.Cleanup(func() { removeFromBroker(t, url, prefix) })
	return []string{"PLATFORMD_EVENTS_URL=" + url, "PLATFORMD_EVENTS_EXCHANGE=" + prefix}
}

// order is what the module courier is asked to publish.
type order struct {
	Type    string
	Version int    `json:",omitempty"`
	Key     string `json:",omitempty"`
	N       int    `json:",omitempty"`
	Count   int    `json:",omitempty"`
	Do      string `json:",omitempty"`
	ID      string `json:",omitempty"`
	Outbox  bool   `json:",omitempty"`
	Fail    bool   `json:",omitempty"`
}

func (p *platform) publish(o order) answer {
	p.t.Helper()
	return p.send(http.MethodPost, "/api/v1/courier/publish", "", o)
}

// effect is what an event did in the module courier.
type effect struct {
	ID  string
	Key string
	N   int
}

func (p *platform) effects(module string) (all []effect) {
	p.t.Helper()
	got := p.do(http.MethodGet, "/api/v1/"+module+"/effects", "", "")
	require.Equal(p.t, http.StatusOK, got.status, got.body)
	got.decode(p.t, &all)
	return all
}

func (p *platform) awaitEffects(module string, n int) []effect {
	p.t.Helper()
	var all []effect
	p.await(fmt.Sprintf("%d effects in %s", n, module), func() bool {
		got, err := p.try(http.MethodGet, "/api/v1/"+module+"/effects", "", "")
		return err == nil && got.status == http.StatusOK && json.Unmarshal([]byte(got.body), &all) == nil && len(all) >= n
	})
	require.Len(p.t, all, n, "more effects than events")
	return all
}

// deadLetter is one line of `dlq ls -o json`.
type deadLetter struct {
	ID, Subscription, Reason, Error string
	Attempts                        int
	Event                           struct{ ID, Type, Source string }
}

func (p *platform) deadLetters() (letters []deadLetter) {
	p.t.Helper()
	require.NoError(p.t, json.Unmarshal([]byte(p.cli("dlq", "ls", "-o", "json")), &letters))
	return letters
}

func (p *platform) awaitDead(n int) []deadLetter {
	p.t.Helper()
	var letters []deadLetter
	p.await(fmt.Sprintf("%d dead letters", n), func() bool {
		page, err := p.admin().DeadLetters(p.t.Context(), admin.LetterFilter{}, n, "")
		require.NoError(p.t, err)
		return len(page.Items) >= n
	})
	letters = p.deadLetters()
	require.Len(p.t, letters, n)
	return letters
}

// TestEventsTour: what happens in the blog and in billing reaches those who want to hear of it, once.
func TestEventsTour(t *testing.T) {
	t.Parallel()
	onEachBus(t, func(t *testing.T, env []string) {
		p := start(t, options{modules: []string{"billing", "blog", "notify"}, env: env})
		token := p.token("blog.*", "billing.*", "notify.*")
		post := p.send(http.MethodPost, "/api/v1/blog/posts", token, map[string]string{"title": "Hello", "body": "World"})
		require.Equal(t, http.StatusCreated, post.status, post.body)
		var written struct {
			ID       string
			AuthorID string `json:"author_id"`
		}
		post.decode(t, &written)
		path := "/api/v1/blog/posts/" + written.ID
		require.Equal(t, http.StatusOK, p.send(http.MethodPatch, path, token, map[string]string{"title": "Hi"}).status)
		require.Equal(t, http.StatusNoContent, p.do(http.MethodDelete, path, token, "").status)
		require.Equal(t, http.StatusCreated, p.send(http.MethodPost, "/api/v1/billing/subscriptions", token,
			map[string]string{"plan_id": "default", "subject": written.AuthorID}).status)

		type item struct{ ID, Type, Source, Subject, Time string }
		feed := func(query string) (items []item) {
			got := p.do(http.MethodGet, "/api/v1/notify/feed"+query, token, "")
			require.Equal(t, http.StatusOK, got.status, got.body)
			var page struct{ Items []item }
			got.decode(t, &page)
			return page.Items
		}
		p.await("four items in the feed", func() bool { return len(feed("?limit=500")) == 4 })
		created := feed("?type=blog.post.created")
		require.Len(t, created, 1)
		require.Equal(t, "/modules/blog", created[0].Source)
		require.Equal(t, "posts/"+written.ID, created[0].Subject)
		require.NotEmpty(t, created[0].Time)
		require.Equal(t, http.StatusBadRequest, p.do(http.MethodGet, "/api/v1/notify/feed?limit=501", token, "").status)
		p.await("billing to count the post", func() bool {
			return strings.Contains(p.do(http.MethodGet, "/api/v1/billing/usage/"+written.AuthorID, token, "").body, `"posts":1`)
		})
		require.Contains(t, p.cli("events", "types"), "blog.post.created")
		require.Contains(t, p.cli("events", "pending"), "notify:blog.*")
		require.Empty(t, p.deadLetters())
	})
}

// TestPoison: an event that cannot be handled is tried as often as the manifest says, then it is a dead letter, and nothing else
// waits for it (G21).
func TestPoison(t *testing.T) {
	t.Parallel()
	onEachBus(t, func(t *testing.T, env []string) {
		p := start(t, options{modules: []string{"courier"}, env: env})
		want := map[string]string{"fail": "attempts", "panic": "attempts", "hang": "attempts", "drop": "dropped"}
		for do := range want {
			require.Equal(t, http.StatusOK, p.publish(order{Type: thing, ID: do, Do: do}).status)
		}
		require.Equal(t, http.StatusOK, p.publish(order{Type: thing, ID: "new", Version: 2}).status)
		want["new"] = "version"
		require.Equal(t, http.StatusOK, p.publish(order{Type: thing, Count: 20, Do: "flaky"}).status)
		p.awaitEffects("courier", 20)
		for _, l := range p.awaitDead(len(want)) {
			require.Equal(t, want[l.Event.ID], l.Reason, l.Event.ID)
			require.Equal(t, "courier:courier.thing.*", l.Subscription)
			require.NotEmpty(t, l.Error)
			attempts := map[string]int{"attempts": 3, "dropped": 1, "version": 1}[l.Reason]
			require.Equal(t, attempts, l.Attempts, "%+v", l)
			require.Contains(t, p.cli("dlq", "show", l.ID), l.Reason)
		}
		_, stderr, code := p.tryCLI("dlq", "show", "nothing")
		require.Equal(t, 5, code, stderr)
		_, stderr, code = p.tryCLI("dlq", "purge")
		require.Equal(t, 2, code, stderr)

		before := p.deadLetters()
		p.cli("dlq", "retry", "--reason", "dropped")
		var after []deadLetter
		p.await("it to die again", func() bool { after = p.deadLetters(); return len(after) == len(before) })
		require.Contains(t, p.cli("dlq", "purge", "--all", "-o", "json"), "5")
		require.Empty(t, p.deadLetters())
	})
}

// TestBadEvents are refused when they are published, and nothing comes of them (G20).
func TestBadEvents(t *testing.T) {
	t.Parallel()
	onEachBus(t, func(t *testing.T, env []string) {
		p := start(t, options{modules: []string{"courier"}, env: env})
		for name, c := range map[string]struct {
			order  order
			status int
			says   string
		}{
			"undeclared type":    {order{Type: "courier.other.thing"}, http.StatusForbidden, "events.publishes"},
			"foreign type":       {order{Type: "blog.post.created"}, http.StatusForbidden, "events.publishes"},
			"undeclared version": {order{Type: thing, Version: 7}, http.StatusBadRequest, "version 7"},
			"no type":            {order{Type: "x"}, http.StatusBadRequest, "type"},
			"unroutable":         {order{Type: "courier.nobody.cares"}, http.StatusPreconditionFailed, "no subscription"},
		} {
			got := p.publish(c.order)
			require.Equal(t, c.status, got.status, "%s: %s", name, got.body)
			require.Contains(t, got.body, c.says, name)
		}
		// The same id with other data is dropped by the handler; with the same data it is the same event.
		require.Equal(t, http.StatusOK, p.publish(order{Type: thing, ID: "same", N: 1}).status)
		require.Equal(t, http.StatusOK, p.publish(order{Type: thing, ID: "same", N: 1}).status)
		p.awaitEffects("courier", 1)
		require.Equal(t, http.StatusOK, p.publish(order{Type: thing, ID: "same", N: 2}).status)
		require.Equal(t, "dropped", p.awaitDead(1)[0].Reason)
		require.Len(t, p.effects("courier"), 1)
		// What nobody may publish does not get out of the outbox either; what nobody wants leaves it.
		p.cli("dlq", "purge", "--all")
		require.Equal(t, http.StatusOK, p.publish(order{Type: "courier.nobody.cares", Outbox: true}).status)
		p.awaitEmptyOutbox()
		require.Empty(t, p.deadLetters())
		// A transaction that fails publishes nothing.
		require.Equal(t, http.StatusInternalServerError, p.publish(order{Type: thing, ID: "undone", Outbox: true, Fail: true}).status)
		require.Equal(t, http.StatusOK, p.publish(order{Type: thing, ID: "done", Outbox: true}).status)
		p.awaitEffects("courier", 2)
		// An operator's.
		_, stderr, code := p.tryCLI("events", "publish", "courier.nobody.cares")
		require.Equal(t, 1, code)
		require.Contains(t, stderr, "no subscription")
		_, stderr, code = p.tryCLI("events", "publish", thing, "--data", "{")
		require.Equal(t, 1, code)
		require.Contains(t, stderr, "not JSON")
		p.cli("events", "publish", thing, "--data", `{"n":3}`)
		p.awaitEffects("courier", 3)
	})
}

// TestEventsG20: every event that cannot be published is an error to who publishes it, also among many that can.
func TestEventsG20(t *testing.T) {
	t.Parallel()
	onEachBus(t, func(t *testing.T, env []string) {
		p := start(t, options{modules: []string{"courier"}, env: env})
		wrong := count(20, 1000)
		report(t, proof{"G20", "events that cannot be published, each with its error", wrong}, nil)
		var publishing sync.WaitGroup
		for at := range 4 {
			publishing.Go(func() {
				for n := at; n < wrong; n += 4 {
					bad := []order{
						{Type: "courier.nobody.cares"}, {Type: "courier.other.thing"}, {Type: "blog.post.created"}, {Type: thing, Version: 7},
					}[n/4%4]
					got := p.publish(bad)
					want := []int{http.StatusPreconditionFailed, http.StatusForbidden, http.StatusForbidden, http.StatusBadRequest}[n/4%4]
					if got.status != want {
						t.Errorf("%+v: %d %s", bad, got.status, got.body)
					}
					if good := p.publish(order{Type: thing, N: n}); good.status != http.StatusOK {
						t.Errorf("a good one: %d %s", good.status, good.body)
					}
				}
			})
		}
		publishing.Wait()
		p.awaitEffects("courier", wrong)
		require.Empty(t, p.deadLetters())
	})
}

// awaitEmptyOutbox waits until the bus has all that modules published.
func (p *platform) awaitEmptyOutbox() {
	p.t.Helper()
	p.await("the outbox to be empty", func() bool {
		info, err := p.admin().Info(p.t.Context())
		require.NoError(p.t, err)
		return info.OutboxWaiting == 0
	})
}

// TestEventsSurvive: what was published while a module was stopped, or before the daemon was killed, has its effect once.
func TestEventsSurvive(t *testing.T) {
	t.Parallel()
	onEachBus(t, func(t *testing.T, env []string) {
		dir := newDir(t, "courier")
		o := options{env: env}
		p := launch(t, dir, o)
		p.awaitReady()
		const each = 200
		for n := range 3 {
			require.Equal(t, http.StatusOK, p.publish(order{Type: thing, N: 1000 * n, Count: 50, Outbox: n%2 == 0}).status)
			for part, do := range []string{"", "flaky", ""} { // 5 must be tried again, and 70 wait behind them
				require.Equal(t, http.StatusOK, p.publish(order{
					Type: "courier.step.taken", Key: fmt.Sprint("k", n), N: []int{0, 75, 80}[part],
					Count: []int{75, 5, 70}[part], Do: do, Outbox: true,
				}).status)
			}
			require.NoError(t, p.cmd.Process.Kill())
			<-p.exited
			p = launch(t, dir, o)
			p.awaitReady()
		}
		all := p.awaitEffects("courier", 3*each)
		require.Empty(t, p.deadLetters())
		once, last := map[string]bool{}, map[string]int{}
		for _, e := range all {
			require.False(t, once[e.ID], "twice: %s", e.ID)
			once[e.ID] = true
			if e.Key != "" {
				require.GreaterOrEqual(t, e.N, last[e.Key], "%s overtook another of its key", e.ID)
				last[e.Key] = e.N
			}
		}
		p.cli("module", "stop", "courier")
		require.Contains(t, p.cli("events", "publish", thing, "--data", `{"n":1}`, "-o", "json"), thing)
		p.cli("module", "start", "courier")
		p.awaitEffects("courier", 3*each+1)
	})
}

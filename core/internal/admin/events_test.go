package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/deadletter"
	"github.com/platformd/platformd/core/internal/bus/embedded"
)

// startEvents serves the API with a bus, on which the module notify subscribes to blog.*, and with dead letters.
func startEvents(t *testing.T) *server {
	t.Helper()
	db := mustStorage(t)
	carrier, err := embedded.New(context.WithoutCancel(t.Context()), db, embedded.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, carrier.Close()) })
	require.NoError(t, carrier.Declare(t.Context(), "notify", []bus.Subscription{{Module: "notify", Pattern: "blog.*"}}))
	letters, err := deadletter.New(t.Context(), db)
	require.NoError(t, err)
	return startWith(t, func(deps *Deps) {
		deps.Events = Events{
			Bus: carrier, Publish: carrier.Publish, Letters: letters,
			Admit: func(e bus.Event) (bus.Event, error) {
				if e.Type == "blog.bad" {
					return e, errors.New("module blog may not publish blog.bad (fix: declare it)")
				}
				return e, e.Check()
			},
			Types: func() []EventType {
				return []EventType{{Type: "blog.made", Version: 1, Module: "blog", Subscribers: []string{"notify:blog.*"}}}
			},
			Outboxes: func() map[string]int64 { return map[string]int64{"shop": 0, "blog": 7} },
		}
	})
}

// letter keeps a dead letter; later ones died later.
func (s *server) letter(t *testing.T, n int, edit ...func(*bus.DeadLetter)) string {
	t.Helper()
	l := bus.DeadLetter{
		ID: fmt.Sprint("letter-", n), Subscription: "notify:blog.*", Attempts: 3, At: time.Unix(int64(n), 0).UTC(),
		Failure: bus.Failure{Reason: bus.ReasonAttempts, Error: "it went wrong"},
		Event: bus.Event{
			ID: fmt.Sprint("event-", n), Source: "/modules/blog", Type: "blog.made", Version: 1, Time: time.Unix(1, 0).UTC(),
			Data: []byte(`{}`),
		},
	}
	for _, e := range edit {
		e(&l)
	}
	require.NoError(t, s.api.Events.Letters.Keep(t.Context(), l))
	return l.ID
}

func (s *server) ready(t *testing.T) int64 {
	t.Helper()
	pending, err := s.PendingEvents(t.Context())
	require.NoError(t, err)
	require.Len(t, pending.Subscriptions, 1)
	require.Equal(t, "notify:blog.*", pending.Subscriptions[0].Subscription)
	return pending.Subscriptions[0].Ready
}

func TestEventsArePublishedAndShown(t *testing.T) {
	t.Parallel()
	s, ctx := startEvents(t), t.Context()
	types, err := s.EventTypes(ctx)
	require.NoError(t, err)
	require.Equal(t, s.api.Events.Types(), types)
	require.Zero(t, s.ready(t))

	made, err := s.PublishEvent(ctx, NewEvent{Type: "blog.made", Key: "k", Data: []byte(`{"n":1}`)})
	require.NoError(t, err)
	require.NotEmpty(t, made.ID)
	require.Equal(t, "/platform/operator", made.Source)
	require.Equal(t, 1, made.Version)
	large, err := s.PublishEvent(ctx, NewEvent{Type: "blog.made", ID: "large", Version: 2, Data: make([]byte, bus.MaxData)})
	require.NoError(t, err, "as large as any event")
	require.Equal(t, "large", large.ID)
	require.EqualValues(t, 2, s.ready(t))
	s.letter(t, 1)
	pending, err := s.PendingEvents(ctx)
	require.NoError(t, err)
	require.Equal(t, []PendingOutbox{{"blog", 7}, {"shop", 0}}, pending.Outboxes)
	require.EqualValues(t, 1, pending.DeadLetters)
	require.False(t, pending.Subscriptions[0].Oldest.IsZero())

	for _, c := range []struct {
		event  NewEvent
		status int
		code   string
	}{
		{NewEvent{}, http.StatusBadRequest, "invalid_event"},
		{NewEvent{Type: "blog.*"}, http.StatusBadRequest, "invalid_event"},
		{NewEvent{Type: "blog.made", ID: "a\nb"}, http.StatusBadRequest, "invalid_event"},
		{NewEvent{Type: "shop.sold"}, http.StatusPreconditionFailed, "failed_precondition"},
		{NewEvent{Type: "blog.made", Data: make([]byte, bus.MaxData+1)}, http.StatusRequestEntityTooLarge, "too_large"},
		{NewEvent{Type: "blog.made", Data: make([]byte, 2*bus.MaxData)}, http.StatusRequestEntityTooLarge, "too_large"},
	} {
		_, err := s.PublishEvent(ctx, c.event)
		require.Contains(t, requireProblem(t, err, c.status, c.code), "(fix: ", c.event.Type)
	}
	require.EqualValues(t, 2, s.ready(t))
	rows := s.rows(t)
	require.Len(t, rows, 2, "what was refused has changed nothing")
	require.Equal(t, "event.publish", rows[0].Action)
}

func TestABusThatIsAwayIsUnavailable(t *testing.T) {
	t.Parallel()
	s := startEvents(t)
	require.NoError(t, s.api.Events.Bus.Close())
	_, err := s.PublishEvent(t.Context(), NewEvent{Type: "blog.made"})
	requireProblem(t, err, http.StatusServiceUnavailable, "unavailable")
	_, err = s.PendingEvents(t.Context())
	requireProblem(t, err, http.StatusServiceUnavailable, "unavailable")
	s.letter(t, 1)
	_, err = s.RetryDeadLetters(t.Context(), LetterFilter{All: true})
	require.Contains(t, requireProblem(t, err, http.StatusServiceUnavailable, "unavailable"), "letter-1")
	_, err = s.DeadLetter(t.Context(), "letter-1")
	require.NoError(t, err)
}

func TestEventsAreWatched(t *testing.T) {
	t.Parallel()
	s := startEvents(t)
	requireProblem(t, s.TailEvents(t.Context(), "nonsense", nil), http.StatusBadRequest, "invalid_argument")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen, ended := make(chan bus.Event, 100), make(chan error, 1)
	enough := errors.New("enough")
	go func() {
		ended <- s.TailEvents(ctx, "blog.*", func(e bus.Event) error { seen <- e; return enough })
	}()
	require.Eventually(t, func() bool { // it shows what is published from when it has begun
		_, err := s.PublishEvent(ctx, NewEvent{Type: "blog.made", Subject: "posts/1", Data: []byte(`{}`)})
		return err == nil && len(seen) > 0
	}, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, "posts/1", (<-seen).Subject)
	require.ErrorIs(t, <-ended, enough)
}

func TestDeadLettersComeInPages(t *testing.T) {
	t.Parallel()
	s, ctx := startEvents(t), t.Context()
	for n := range 5 {
		s.letter(t, n)
	}
	s.letter(t, 5, func(l *bus.DeadLetter) {
		l.Subscription, l.Failure.Reason, l.Event.Type = "shop:blog.old", bus.ReasonDropped, "blog.old"
	})
	var ids []string
	for after, pages := "", 0; ; pages++ {
		page, err := s.DeadLetters(ctx, LetterFilter{}, 2, after)
		require.NoError(t, err)
		for _, l := range page.Items {
			ids = append(ids, l.ID)
		}
		if after = page.Next; after == "" {
			require.Equal(t, 2, pages)
			break
		}
	}
	require.Equal(t, []string{"letter-5", "letter-4", "letter-3", "letter-2", "letter-1", "letter-0"}, ids)
	for _, f := range []LetterFilter{{Subscription: "shop:blog.old"}, {Module: "shop"}, {Type: "blog.old"}, {Reason: "dropped"}} {
		page, err := s.DeadLetters(ctx, f, 0, "")
		require.NoError(t, err)
		require.Len(t, page.Items, 1, "%+v", f)
		require.Equal(t, "letter-5", page.Items[0].ID)
		require.Empty(t, page.Next)
	}
	page, err := s.DeadLetters(ctx, LetterFilter{Module: "nobody"}, 10_000, "")
	require.NoError(t, err)
	require.NotNil(t, page.Items)
	_, err = s.DeadLetters(ctx, LetterFilter{}, 2, "absent")
	requireProblem(t, err, http.StatusNotFound, "not_found")
	reader := session(s.person(t, "ada", "platform.event.read"))
	for _, query := range []string{"limit=0", "limit=x", "limit=-1", "color=red", "type=a&type=b"} {
		got := s.through(t, reader, "GET /dead-letters?"+query)
		require.Equal(t, http.StatusBadRequest, got.status, "%s: %s", query, got.body)
	}
	shown, err := s.DeadLetter(ctx, "letter-3")
	require.NoError(t, err)
	require.Equal(t, DeadLetter{
		ID: "letter-3", Subscription: "notify:blog.*", Reason: "attempts", Error: "it went wrong", Attempts: 3,
		At: time.Unix(3, 0).UTC(), Event: shown.Event,
	}, shown)
	require.Equal(t, "event-3", shown.Event.ID)
	odd := s.letter(t, 9, func(l *bus.DeadLetter) { l.ID = "a/b c?" })
	_, err = s.DeadLetter(ctx, odd)
	require.NoError(t, err)
	_, err = s.DeadLetter(ctx, "absent")
	require.Contains(t, requireProblem(t, err, http.StatusNotFound, "not_found"), "(fix: see `platformd dlq ls`)")
}

// Nobody throws everything away by leaving something out.
func TestWhichLettersMustBeSaid(t *testing.T) {
	t.Parallel()
	s := startEvents(t)
	s.letter(t, 1)
	operator := session(s.person(t, "ada", "platform.event.manage"))
	for _, verb := range []string{"retry", "purge"} {
		for body, status := range map[string]int{
			`{}`: http.StatusBadRequest, `{"all":false}`: http.StatusBadRequest, `{"ids":[]}`: http.StatusBadRequest,
			`{"all":true,"reason":"dropped"}`: http.StatusBadRequest, `{"all":true,"ids":["letter-1"]}`: http.StatusBadRequest,
			`{"all":true,"ids":[]}`: http.StatusBadRequest, `{"reason":"dropped","ids":[]}`: http.StatusBadRequest,
			``: http.StatusBadRequest, `{"everything":true}`: http.StatusBadRequest, `{"all":"yes"}`: http.StatusBadRequest,
			`{"ids":["absent"]}`: http.StatusNotFound, `{"ids":["letter-1","absent"]}`: http.StatusNotFound,
			`{"reason":"dropped"}`: http.StatusOK,
		} {
			got := s.through(t, operator, "POST /dead-letters/"+verb, body)
			require.Equal(t, status, got.status, "%s %s: %s", verb, body, got.body)
		}
	}
	_, err := s.DeadLetter(t.Context(), "letter-1")
	require.NoError(t, err)
	require.Zero(t, s.ready(t))
	count, err := s.PurgeDeadLetters(t.Context(), LetterFilter{All: true})
	require.NoError(t, err)
	require.EqualValues(t, 1, count)
	rows := s.rows(t)
	require.Equal(t, "event.purge", rows[len(rows)-1].Action)
}

func TestDeadLettersAreRetried(t *testing.T) {
	t.Parallel()
	s, ctx := startEvents(t), t.Context()
	for n := range 3 {
		s.letter(t, n)
	}
	count, err := s.RetryDeadLetters(ctx, LetterFilter{IDs: []string{"letter-1"}})
	require.NoError(t, err)
	require.EqualValues(t, 1, count)
	count, err = s.RetryDeadLetters(ctx, LetterFilter{Module: "notify"})
	require.NoError(t, err)
	require.EqualValues(t, 2, count)
	require.EqualValues(t, 3, s.ready(t))
	_, err = s.DeadLetter(ctx, "letter-1")
	requireProblem(t, err, http.StatusNotFound, "not_found")

	s.letter(t, 4)
	s.letter(t, 5, func(l *bus.DeadLetter) { l.Subscription = "gone:blog.*" })
	s.letter(t, 6)
	_, err = s.RetryDeadLetters(ctx, LetterFilter{All: true})
	detail := requireProblem(t, err, http.StatusPreconditionFailed, "failed_precondition")
	require.Contains(t, detail, "2 were delivered again, 1 not; dead letter letter-5 and 0 more: no subscription wants this event")
	left, err := s.DeadLetters(ctx, LetterFilter{}, 0, "")
	require.NoError(t, err)
	require.Len(t, left.Items, 1)
}

// What was refused out of an outbox was never published. It is, to whoever wants it, when its module may publish it, and not
// because somebody tries everything again.
func TestARefusedEventIsPublishedWhenItMayBe(t *testing.T) {
	t.Parallel()
	s, ctx := startEvents(t), t.Context()
	refused := func(kind string) func(*bus.DeadLetter) {
		return func(l *bus.DeadLetter) { l.Subscription, l.Failure.Reason, l.Event.Type = "", bus.ReasonRefused, kind }
	}
	s.letter(t, 1, refused("blog.made"))
	count, err := s.RetryDeadLetters(ctx, LetterFilter{Reason: bus.ReasonRefused})
	require.NoError(t, err)
	require.EqualValues(t, 1, count)
	require.EqualValues(t, 1, s.ready(t))
	s.letter(t, 2, refused("blog.bad"))
	_, err = s.RetryDeadLetters(ctx, LetterFilter{All: true})
	detail := requireProblem(t, err, http.StatusPreconditionFailed, "failed_precondition")
	require.Contains(t, detail, "letter-2 and 0 more: module blog may not publish blog.bad (fix: declare it)")
	require.EqualValues(t, 1, s.ready(t))
	_, err = s.DeadLetter(ctx, "letter-2")
	require.NoError(t, err, "it stays")
}

func TestWhoMayDoWhatWithEvents(t *testing.T) {
	t.Parallel()
	s := startEvents(t)
	s.letter(t, 1)
	people := map[string]authz.Holder{}
	for _, has := range []string{"read", "publish", "manage"} {
		people[has] = session(s.person(t, has, "platform.event."+has))
	}
	for _, c := range []struct{ line, body, needs string }{
		{"GET /events/types", "", "read"}, {"GET /events/pending", "", "read"}, {"GET /dead-letters", "", "read"},
		{"GET /dead-letters/letter-1", "", "read"}, {"POST /events", `{"type":"blog.made"}`, "publish"},
		{"POST /dead-letters/retry", `{"all":true}`, "manage"}, {"POST /dead-letters/purge", `{"all":true}`, "manage"},
	} {
		for has := range people {
			got := s.through(t, people[has], c.line, c.body)
			if has == c.needs {
				require.Less(t, got.status, 300, "%s: %s", c.line, got.body)
				continue
			}
			require.Equal(t, http.StatusForbidden, got.status, "%s with %s", c.line, has)
			require.Contains(t, got.detail(), "platform.event."+c.needs)
		}
	}
}

package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/deadletter"
	"github.com/platformd/platformd/core/internal/jsonbody"
	"github.com/platformd/platformd/plugin-api/problem"
)

// Events is what the API shows of the event bus, and does with it. Every field is required.
type Events struct {
	Bus bus.Bus
	// Publish is the bus's, when it may be used.
	Publish func(context.Context, []bus.Event) []error
	// Admit returns an event that was refused out of an outbox as its module may publish it now. An error says why it may not.
	Admit   func(bus.Event) (bus.Event, error)
	Letters *deadletter.Store
	// Types returns every type of event that the platform or an installed module may publish, sorted.
	Types func() []EventType
	// Outboxes returns how many events wait in the outbox of each module that has one.
	Outboxes func() map[string]int64
}

// EventType is a type of event, in one version.
type EventType struct {
	Type    string `json:"type"`
	Version int    `json:"version"`
	// Module is who publishes it; "platform" is the platform itself.
	Module string `json:"module"`
	// Subscribers are the IDs of the subscriptions that want it.
	Subscribers []string `json:"subscribers"`
}

// NewEvent is an event that an operator publishes. What is left out is filled in.
type NewEvent struct {
	ID          string `json:"id,omitempty"`
	Type        string `json:"type"`
	Version     int    `json:"version,omitempty"` // 1 unless set
	Subject     string `json:"subject,omitempty"`
	Key         string `json:"key,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	Data        []byte `json:"data,omitempty"` // in base64
}

// Pending is what is on its way.
type Pending struct {
	Subscriptions []PendingSubscription `json:"subscriptions"`
	Outboxes      []PendingOutbox       `json:"outboxes"`
	DeadLetters   int64                 `json:"dead_letters"`
}

// PendingSubscription is what waits for one subscription.
type PendingSubscription struct {
	Subscription string    `json:"subscription"`
	Ready        int64     `json:"ready"`
	Waiting      int64     `json:"waiting"`
	InFlight     int64     `json:"in_flight"`
	Oldest       time.Time `json:"oldest,omitzero"`
}

// PendingOutbox is what a module has put into its outbox and the bus has not got yet.
type PendingOutbox struct {
	Module  string `json:"module"`
	Waiting int64  `json:"waiting"`
}

// DeadLetter is a delivery that came to nothing.
type DeadLetter struct {
	ID           string    `json:"id"`
	Subscription string    `json:"subscription"`
	Reason       string    `json:"reason"`
	Error        string    `json:"error,omitempty"`
	Attempts     int       `json:"attempts"`
	At           time.Time `json:"at"`
	Event        bus.Event `json:"event"`
}

// LetterFilter says which dead letters are meant.
type LetterFilter struct {
	IDs          []string `json:"ids,omitempty"`
	Subscription string   `json:"subscription,omitempty"`
	Module       string   `json:"module,omitempty"`
	Type         string   `json:"type,omitempty"`
	Reason       string   `json:"reason,omitempty"`
	// All must be set where nothing else is.
	All bool `json:"all,omitempty"`
}

// Count is how many things were dealt with.
type Count struct {
	Count int64 `json:"count"`
}

func (f *LetterFilter) store() deadletter.Filter {
	return deadletter.Filter{IDs: f.IDs, Subscription: f.Subscription, Module: f.Module, Type: f.Type, Reason: f.Reason}
}

func (a *api) eventEndpoints() []Endpoint {
	const read, manage = "platform.event.read", "platform.event.manage"
	retry, purge := a.changeLetters("event.retry", a.retryLetters), a.changeLetters("event.purge", a.purgeLetters)
	return []Endpoint{
		{ID: "listEventTypes", Method: get, Path: "/events/types", Permission: read, Serve: a.eventTypes},
		{ID: "tailEvents", Method: get, Path: "/events/tail", Permission: read, Serve: a.tailEvents, Endless: true},
		{ID: "pendingEvents", Method: get, Path: "/events/pending", Permission: read, Serve: a.pendingEvents},
		{ID: "publishEvent", Method: post, Path: "/events", Permission: "platform.event.publish", Serve: a.publishEvent},
		{ID: "listDeadLetters", Method: get, Path: "/dead-letters", Permission: read, Serve: a.deadLetters},
		{ID: "getDeadLetter", Method: get, Path: "/dead-letters/{id}", Permission: read, Serve: a.deadLetter},
		{ID: "retryDeadLetters", Method: post, Path: "/dead-letters/retry", Permission: manage, Serve: retry, Endless: true},
		{ID: "purgeDeadLetters", Method: post, Path: "/dead-letters/purge", Permission: manage, Serve: purge},
	}
}

func (a *api) eventTypes(w http.ResponseWriter, _ *http.Request) error {
	return jsonbody.Write(w, http.StatusOK, list[EventType]{Items: orEmpty(a.deps.Events.Types())})
}

func (a *api) tailEvents(w http.ResponseWriter, r *http.Request) error {
	pattern, err := parameter(r, "type")
	if err != nil {
		return err
	}
	if pattern != "" {
		if err := bus.CheckPattern(pattern); err != nil {
			return badRequest(err)
		}
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	out := newStream(w)
	err = a.deps.Events.Bus.Tail(ctx, pattern, func(e bus.Event) {
		if !send(out, e) {
			cancel()
		}
	})
	if err != nil && ctx.Err() == nil {
		a.breakOff(w, r, err)
	}
	return nil
}

func (a *api) pendingEvents(w http.ResponseWriter, r *http.Request) error {
	backlogs, err := a.deps.Events.Bus.Pending(r.Context())
	if err != nil {
		return busProblem(err)
	}
	dead, err := a.deps.Events.Letters.Count(r.Context(), deadletter.Filter{})
	if err != nil {
		return err
	}
	pending := Pending{Subscriptions: []PendingSubscription{}, Outboxes: []PendingOutbox{}, DeadLetters: dead}
	for id, b := range backlogs {
		pending.Subscriptions = append(pending.Subscriptions, PendingSubscription{
			Subscription: id, Ready: b.Ready, Waiting: b.Waiting, InFlight: b.InFlight, Oldest: b.Oldest,
		})
	}
	for module, n := range a.deps.Events.Outboxes() {
		pending.Outboxes = append(pending.Outboxes, PendingOutbox{Module: module, Waiting: n})
	}
	slices.SortFunc(pending.Subscriptions, func(x, y PendingSubscription) int {
		return strings.Compare(x.Subscription, y.Subscription)
	})
	slices.SortFunc(pending.Outboxes, func(x, y PendingOutbox) int { return strings.Compare(x.Module, y.Module) })
	return jsonbody.Write(w, http.StatusOK, pending)
}

// maxEvent is how much of a body an event may be: its data in base64, and the rest.
const maxEvent = bus.MaxData/3*4 + jsonbody.Max

// publishEvent is for trying things out, and for what an operator must make good.
func (a *api) publishEvent(w http.ResponseWriter, r *http.Request) error {
	var asked NewEvent
	if err := jsonbody.ReadUpTo(w, r, maxEvent, &asked); err != nil {
		return err
	}
	e := bus.Event{
		ID: asked.ID, Source: "/platform/operator", Type: asked.Type, Version: max(asked.Version, 1), Subject: asked.Subject,
		Key: asked.Key, Time: time.Now().UTC(), ContentType: asked.ContentType, Data: asked.Data,
	}
	if e.ID == "" {
		e.ID = uuid.NewString()
	}
	if err := e.Check(); err != nil {
		return err
	}
	c := change{action: "event.publish", resource: "event/" + e.ID, details: []string{"type", e.Type}}
	err := a.perform(r, &c, func(ctx context.Context) error {
		return busProblem(a.deps.Events.publish(ctx, e))
	})
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusCreated, e)
}

// busProblem is what a client is told of an error of the bus.
func busProblem(err error) error {
	for _, known := range []struct {
		err    error
		status int
		code   string
	}{
		{bus.ErrUnroutable, http.StatusPreconditionFailed, "failed_precondition"},
		{bus.ErrUnavailable, http.StatusServiceUnavailable, "unavailable"},
		{bus.ErrRefused, http.StatusServiceUnavailable, "unavailable"},
		{bus.ErrClosed, http.StatusServiceUnavailable, "unavailable"},
	} {
		if errors.Is(err, known.err) {
			return problem.New(known.status, known.code, known.err.Error())
		}
	}
	return err
}

func (e *Events) publish(ctx context.Context, one bus.Event) error {
	if errs := e.Publish(ctx, []bus.Event{one}); errs != nil {
		return fmt.Errorf("publish %s %s: %w", one.Type, one.ID, errs[0])
	}
	return nil
}

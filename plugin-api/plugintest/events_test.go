package plugintest_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

const notifyManifest = "testdata/notify/module.yaml"

// notify sends a mail for each post, and tells that it has.
type notify struct {
	core *pluginapi.Core
	any  []pluginapi.Event // what came by blog.*
	err  error             // of the handler of posts
}

func (n *notify) module() pluginapi.Module {
	return pluginapi.Module{
		Events: map[string]pluginapi.EventHandler{
			"blog.post.created": n.created,
			"blog.*": func(_ context.Context, e pluginapi.Event) error {
				n.any = append(n.any, e)
				return nil
			},
		},
		Init: func(_ context.Context, core *pluginapi.Core) error { n.core = core; return nil },
	}
}

func (n *notify) created(ctx context.Context, e pluginapi.Event) error {
	var post struct{ Author string }
	if err := json.Unmarshal(e.Data, &post); err != nil {
		return pluginapi.Drop(err) // it will never be anything else
	}
	if n.err != nil {
		return n.err
	}
	data, err := json.Marshal(map[string]string{"to": post.Author})
	if err != nil {
		return err
	}
	return n.core.Events.Publish(ctx, pluginapi.Event{Type: "notify.mail.sent", Version: 1, Subject: e.Subject, Data: data})
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	n := &notify{}
	server := plugintest.Start(t, n.module(), plugintest.Options{Manifest: notifyManifest})
	post := pluginapi.Event{Type: "blog.post.created", Version: 1, Subject: "post/7", Data: []byte(`{"author":"ada@example.com"}`)}
	require.NoError(t, server.Deliver(t.Context(), post))
	require.Len(t, n.any, 1)
	require.Equal(t, "/modules/blog", n.any[0].Source)
	require.NotEmpty(t, n.any[0].ID)
	require.NotEmpty(t, n.any[0].TraceParent)

	published := server.Published()
	require.Len(t, published, 1)
	require.Equal(t, "notify.mail.sent", published[0].Type)
	require.Equal(t, "/modules/notify", published[0].Source)
	require.JSONEq(t, `{"to":"ada@example.com"}`, string(published[0].Data))
	require.Equal(t, n.any[0].TraceParent, published[0].TraceParent, "it goes on with the trace")

	var drop *pluginapi.DropError
	post.Data = []byte("x")
	require.ErrorAs(t, server.Deliver(t.Context(), post), &drop)
	post.Data, n.err = []byte("{}"), errors.New("the mail server is away")
	err := server.Deliver(t.Context(), post)
	require.ErrorContains(t, err, "the mail server is away")
	require.NotErrorAs(t, err, &drop)
	require.Len(t, n.any, 3, "the other handler had all of them")

	post.Version = 2
	err = server.Deliver(t.Context(), post)
	require.ErrorAs(t, err, &drop, "blog.* is subscribed to up to version 1")
	require.ErrorContains(t, err, "the mail server is away")
	require.Len(t, n.any, 3)
	require.ErrorIs(t, server.Deliver(t.Context(), pluginapi.Event{Type: "shop.order.paid", Version: 1}), pluginapi.ErrUnroutable)
	require.ErrorContains(t, server.Deliver(t.Context(), pluginapi.Event{Type: "blog.post.created"}), "the event's version")
}

func TestAHandlerHasItsTimeout(t *testing.T) {
	t.Parallel()
	n := &notify{}
	module := n.module()
	module.Events["blog.post.created"] = func(ctx context.Context, _ pluginapi.Event) error {
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		require.LessOrEqual(t, time.Until(deadline), time.Second)
		<-ctx.Done()
		return ctx.Err()
	}
	server := plugintest.Start(t, module, plugintest.Options{Manifest: notifyManifest})
	err := server.Deliver(t.Context(), pluginapi.Event{Type: "blog.post.created", Version: 1})
	require.ErrorContains(t, err, "deadline exceeded")
}

func TestPublishIsAsStrictAsInProduction(t *testing.T) {
	t.Parallel()
	n := &notify{}
	server := plugintest.Start(t, n.module(), plugintest.Options{Manifest: notifyManifest})
	for want, e := range map[string]pluginapi.Event{
		"events.publishes":         {Type: "notify.mail.lost", Version: 1},
		"version 2":                {Type: "notify.mail.sent", Version: 2},
		`missing properties: ["to`: {Type: "notify.mail.sent", Version: 1, Data: []byte("{}")},
	} {
		require.ErrorContains(t, n.core.Events.Publish(t.Context(), e), want)
	}
	require.Equal(t, codes.PermissionDenied, status.Code(n.core.Events.Relay(t.Context())))
	require.Empty(t, server.Published())
}

// What is published at the same time goes together; here too each hears of its own.
func TestPublishingAtTheSameTime(t *testing.T) {
	t.Parallel()
	n := &notify{}
	server := plugintest.Start(t, n.module(), plugintest.Options{Manifest: notifyManifest})
	const each = 100
	var all sync.WaitGroup
	for range each {
		all.Go(func() {
			good := pluginapi.Event{Type: "notify.mail.sent", Version: 1, Data: []byte(`{"to":"ada@example.com"}`)}
			assert.NoError(t, n.core.Events.Publish(t.Context(), good))
		})
		all.Go(func() {
			err := n.core.Events.Publish(t.Context(), pluginapi.Event{Type: "notify.mail.lost", Version: 1})
			assert.Equal(t, codes.PermissionDenied, status.Code(err))
		})
	}
	all.Wait()
	require.Len(t, server.Published(), each)
}

func TestEventsMustAgreeWithTheManifest(t *testing.T) {
	t.Parallel()
	module := new(notify).module()
	delete(module.Events, "blog.*")
	_, err := plugintest.Try(t, module, plugintest.Options{Manifest: notifyManifest})
	require.ErrorContains(t, err, "module.yaml subscribes to blog.*, but the binary has no handler for it")
	module.Events["shop.*"] = module.Events["blog.post.created"]
	_, err = plugintest.Try(t, module, plugintest.Options{Manifest: notifyManifest})
	require.ErrorContains(t, err, "a handler for events shop.*")
}

// Command events is a module that publishes events as it is told to, and hears them. It is built as an author would: it calls
// Events.Publish for one event at a time.
package main

import (
	"context"
	"net/http"

	pluginapi "github.com/platformd/platformd/plugin-api"

	"github.com/platformd/platformd/scripts/bench/internal/eventload"
)

func main() {
	var events *pluginapi.Events // once the module is initialized
	load := eventload.New(func(ctx context.Context, id string, data []byte) error {
		return events.Publish(ctx, pluginapi.Event{
			ID: id, Type: eventload.Type, Version: 1, Subject: eventload.Subject, Data: data,
		})
	})
	serve := func(w http.ResponseWriter, r *http.Request) error { load.ServeHTTP(w, r); return nil }
	pluginapi.Serve(pluginapi.Module{
		Init:   func(_ context.Context, core *pluginapi.Core) error { events = core.Events; return nil },
		Routes: map[string]pluginapi.Handler{"order": serve, "result": serve},
		Events: map[string]pluginapi.EventHandler{
			eventload.Type: func(ctx context.Context, e pluginapi.Event) error { return load.Handle(ctx, e.ID) },
		},
	})
}

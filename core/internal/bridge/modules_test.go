package bridge

import (
	"context"
	"errors"
	"os"
	"time"

	pluginapi "github.com/platformd/platformd/plugin-api"
)

// modules are what the test binary can be launched as.
func modules() map[string]func() pluginapi.Module {
	return map[string]func() pluginapi.Module{"reader": func() pluginapi.Module {
		return pluginapi.Module{Events: map[string]pluginapi.EventHandler{"blog.*": read}}
	}}
}

// read does what the event's subject says.
func read(ctx context.Context, e pluginapi.Event) error {
	switch e.Subject {
	case "fail":
		return errors.New("it went wrong")
	case "drop":
		return pluginapi.Drop(errors.New("it never goes"))
	case "panic":
		panic("oh no")
	case "hang":
		<-ctx.Done()
		<-time.After(100 * time.Millisecond) // the core's patience ends before the module's
		return ctx.Err()
	case "die":
		os.Exit(3)
	}
	return nil
}

package bustest

import (
	"context"
	"fmt"

	"github.com/platformd/platformd/core/internal/bus"
)

// PublishOne is Publish for one event.
func PublishOne(ctx context.Context, b bus.Bus, e bus.Event) error {
	if errs := b.Publish(ctx, []bus.Event{e}); errs != nil {
		return fmt.Errorf("publish %s %s: %w", e.Type, e.ID, errs[0])
	}
	return nil
}

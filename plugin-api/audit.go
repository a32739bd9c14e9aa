package pluginapi

import (
	"context"
	"fmt"

	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// Audit keeps what was done for good. It needs grants: { audit: [write] }, and is safe for concurrent use.
type Audit struct{ client corev1.AuditClient }

// Outcome is how an action ended.
type Outcome string

// The outcomes.
const (
	Done   Outcome = "done"
	Denied Outcome = "denied"
	Failed Outcome = "failed"
)

// Action is what was done. The core adds the module, the time, and who did it: whoever sent the request that the context belongs
// to, or the module itself.
type Action struct {
	Name     string // "post.publish"; the core puts the module's name before it
	Resource string // "post/42"
	Outcome  Outcome
	Details  map[string]string // at most 4 KiB
}

// Write returns when the action is recorded durably.
func (a *Audit) Write(ctx context.Context, action Action) error {
	outcomes := map[Outcome]corev1.Outcome{
		Done: corev1.Outcome_OUTCOME_DONE, Denied: corev1.Outcome_OUTCOME_DENIED, Failed: corev1.Outcome_OUTCOME_FAILED,
	}
	_, err := a.client.Write(ctx, &corev1.WriteRequest{
		Action: action.Name, Resource: action.Resource, Outcome: outcomes[action.Outcome], Details: action.Details,
	})
	if err != nil {
		return fmt.Errorf("audit %s: %w", action.Name, err)
	}
	return nil
}

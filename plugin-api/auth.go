package pluginapi

import (
	"context"
	"fmt"

	"github.com/platformd/platformd/plugin-api/link"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// Auth judges tokens that reach a module by another way than the gateway. It needs grants: { auth: [validate] }, and is safe for
// concurrent use.
type Auth struct{ client corev1.AuthClient }

// Caller is somebody whose token has been validated.
type Caller struct {
	Principal Principal
	ticket    string
}

// Validate returns whose token it is. Errors: codes.Unauthenticated if it is not valid; codes.Unavailable if that cannot be found
// out, when the module must not go on either.
func (a *Auth) Validate(ctx context.Context, token string) (Caller, error) {
	answer, err := a.client.Validate(ctx, &corev1.ValidateRequest{Token: token})
	if err != nil {
		return Caller{}, fmt.Errorf("validate a token: %w", err)
	}
	p := answer.GetPrincipal()
	return Caller{
		Principal: Principal{Kind: p.GetKind(), ID: p.GetId(), Name: p.GetName()}, ticket: answer.GetTicket(),
	}, nil
}

// Context returns a context for what is done on the caller's behalf: PrincipalFrom finds the caller there, and the core is asked
// in the caller's name. The core believes that for a minute.
func (c Caller) Context(ctx context.Context) context.Context {
	call := link.Call{}
	if outer := link.FromContext(ctx); outer != nil {
		call = *outer
	}
	call.Principal, call.Ticket = c.Principal, c.ticket
	return link.With(ctx, &call)
}

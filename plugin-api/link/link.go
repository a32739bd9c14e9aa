// Package link holds what travels with every HTTP exchange between the core and a module: the route the core decided on,
// its parameters, the principal and the deadline. The transports that carry it are packages below this one.
//
// It must not know gin, go-plugin or any transport: both halves of each transport import it.
package link

import (
	"context"
	"time"
)

// Kinds of Principal.
const (
	KindAnonymous = "anonymous" // nobody authenticated; the route is public
	KindToken     = "token"     // an API token that belongs to nobody: a service's
	KindUser      = "user"      // a person, by a session or by an API token of theirs
	KindModule    = "module"    // a module, of its own accord
)

// Principal is who is calling, as the core authenticated it. The zero value is not valid: an unauthenticated caller is
// Anonymous.
type Principal struct {
	Kind string `json:"kind"`
	// ID is stable and unique within the installation; empty for the anonymous principal.
	ID string `json:"id,omitempty"`
	// Name is for people; it is not unique and may change.
	Name string `json:"name,omitempty"`
}

// Anonymous is the principal of a request without credentials.
func Anonymous() Principal { return Principal{Kind: KindAnonymous} }

// Param is one path parameter, decoded once.
type Param struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Call is what the core decided about one request. The module dispatches on it alone, never on the path or a header that
// a client sent.
type Call struct {
	// Route is the id of the manifest's route.
	Route string
	// Params are in the order of the route's pattern.
	Params []Param
	// Principal is minted by the core.
	Principal Principal
	// Ticket stands for the principal when the module asks something of the core; visible ASCII, empty if the module may ask
	// nothing.
	Ticket string
	// Path is the decoded canonical path below the module's prefix; it begins with "/".
	Path string
	// Timeout is what is left of the route's time; 0 = no limit (streams). Both halves of a transport keep to it.
	Timeout time.Duration
	// TraceParent is the trace that the request belongs to, as the W3C's header. The module's half reads it from the request.
	TraceParent string
}

type callKey struct{}

// With returns a context that carries call; FromContext finds it there.
func With(ctx context.Context, call *Call) context.Context {
	return context.WithValue(ctx, callKey{}, call)
}

// FromContext returns the call of the exchange that ctx belongs to, or nil outside of one.
func FromContext(ctx context.Context) *Call {
	call, _ := ctx.Value(callKey{}).(*Call)
	return call
}

// Value is the Value method of a context that carries call, for a transport that makes its contexts itself.
func Value(call *Call, key any) any {
	if key == (callKey{}) {
		return call
	}
	return nil
}

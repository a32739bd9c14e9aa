package admin

import (
	"context"
	"fmt"
	"net/http"

	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/problem"
)

// KindOperator is the kind of whoever asks on the control socket.
const KindOperator = "operator"

// Caller is who asks.
type Caller struct {
	Holder authz.Holder
	// operator may do everything. Only the control socket makes one.
	operator bool
}

type callerKey struct{}

// WithCaller returns a context in which an Endpoint is served for the caller. Without one it serves nobody.
func WithCaller(ctx context.Context, caller Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

// callerOf is the zero Caller, who may do nothing, if nobody said who asks.
func callerOf(ctx context.Context) Caller {
	caller, _ := ctx.Value(callerKey{}).(Caller)
	return caller
}

func operator() Caller {
	principal := link.Principal{Kind: KindOperator, ID: "control", Name: "operator"}
	return Caller{Holder: authz.Holder{Principal: principal}, operator: true}
}

// person is the id of a user who has signed in themselves. An API token does not do: whoever found one must not be able to make
// others of it that live longer.
func (c Caller) person() string {
	if c.Holder.Principal.Kind != link.KindUser || c.Holder.Bound != nil {
		return ""
	}
	return c.Holder.Principal.ID
}

// require refuses callers who do not have a permission; no permission is one that the operator alone has.
func (a *api) require(ctx context.Context, permission string) error {
	caller := callerOf(ctx)
	if caller.operator {
		return nil
	}
	if permission == "" {
		return denied("this is for the operator, on the control socket")
	}
	allowed, err := a.deps.Authz.Decide(caller.Holder, permission)
	if err != nil {
		return err
	}
	if !allowed {
		return denied("this needs the permission %s (fix: ask an administrator for a role that has it)", permission)
	}
	return nil
}

// mayHandOut refuses callers who would give away more than they have.
func (a *api) mayHandOut(ctx context.Context, patterns ...string) error {
	caller := callerOf(ctx)
	if caller.operator {
		return nil
	}
	for _, pattern := range patterns {
		has, err := a.deps.Authz.MayHandOut(caller.Holder, pattern)
		if err != nil {
			return err
		}
		if !has {
			return denied("nobody hands out more than they have, and you do not have %.80q "+
				"(fix: leave it out, or ask somebody who has it)", pattern)
		}
	}
	return nil
}

// mayAssign refuses callers who do not have all that the roles allow.
func (a *api) mayAssign(ctx context.Context, names ...string) error {
	if callerOf(ctx).operator || len(names) == 0 {
		return nil
	}
	roles, err := a.deps.Authz.Roles(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		for _, p := range patternsOf(roles, name) {
			if err := a.mayHandOut(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// patternsOf are what a role allows; a role that there is not allows nothing, and is refused when it is assigned.
func patternsOf(roles []authz.Role, name string) (patterns []string) {
	for i := range roles {
		if roles[i].Name != name {
			continue
		}
		for _, p := range roles[i].Patterns {
			patterns = append(patterns, p.Pattern)
		}
	}
	return patterns
}

// mayRule refuses callers who could become somebody who may do more than they: by a new password, another address, a link.
func (a *api) mayRule(ctx context.Context, user string) error {
	caller := callerOf(ctx)
	if caller.operator {
		return nil
	}
	covers, err := a.deps.Authz.Covers(ctx, caller.Holder, user)
	if err != nil {
		return err
	}
	if !covers {
		return denied("the user may do more than you (fix: ask somebody who may do all that the user may)")
	}
	return nil
}

func denied(format string, args ...any) error {
	return problem.New(http.StatusForbidden, "permission_denied", fmt.Sprintf(format, args...))
}

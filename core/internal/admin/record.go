package admin

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/plugin-api/problem"
)

// auditWait bounds how long an answer waits for its audit row.
const auditWait = 5 * time.Second

// change is what the audit log says of a change.
type change struct {
	action   string   // such as role.grant
	resource string   // such as role/editor
	details  []string // names and values, one after the other
}

// perform makes a change, and then writes down how that went. What was a mistake in the request has changed nothing, and leaves
// no row.
func (a *api) perform(r *http.Request, c *change, work func(ctx context.Context) error) error {
	err := explained(work(r.Context()))
	var p *problem.Problem
	switch {
	case err == nil:
		a.record(r, *c, audit.Done)
	case !errors.As(err, &p):
		a.record(r, *c, audit.Failed) // or done: a database that does not answer may have done it
	case p.Status == http.StatusForbidden:
		a.record(r, *c, audit.Denied)
	case p.Status == http.StatusBadGateway: // a module has failed at it
		what, _ := SplitFix(p.Detail)
		c.details = append(c.details, "reason", what)
		a.record(r, *c, audit.Failed)
	}
	return err
}

// record writes an audit row. What has been done does not become undone if that fails, nor does it wait for a client that has
// left. Refusals, of which anybody can cause as many as they like, are written as far as there is room for them.
func (a *api) record(r *http.Request, c change, outcome audit.Outcome) {
	caller := callerOf(r.Context()).Holder.Principal
	entry := audit.Entry{
		Actor: caller, Action: c.action, Resource: c.resource, Outcome: outcome, Details: audit.Details(c.details...),
		RequestID: r.Header.Get("X-Request-Id"), Address: addressOf(r),
	}
	if outcome == audit.Denied {
		a.deps.Audit.TryWrite(entry)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), auditWait)
	defer cancel()
	if err := a.deps.Audit.Write(ctx, entry); err != nil {
		a.deps.Log.Error("the audit log misses what was done", "action", c.action, "resource", c.resource, "actor", caller.ID,
			"outcome", string(outcome), "error", err)
	}
}

// addressOf is where the client is. On the control socket that is here, and has no address.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	if host == "@" { // what an unnamed unix socket calls itself
		return ""
	}
	return host
}

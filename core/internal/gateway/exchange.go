package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/net/http/httpguts"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/problem"
)

const (
	// retrySoon is what a client is told when a module is expected back, retryLater when an operator has to do something.
	retrySoon  = time.Second
	retryLater = 30 * time.Second
)

// Causes of a context's end that say whose doing it was.
var (
	errNoAnswer = errors.New("the module did not begin its answer in time")
	errDraining = errors.New("the platform is stopping")
)

// serve is gin's handler of the route.
func (rt *route) serve(c *gin.Context) {
	a := answerOf(c)
	if err := rt.handle(a, c.Request); err != nil && !rt.gateway.decideAnew(a, c.Request, err) {
		rt.gateway.refuse(a, c.Request, err)
	}
}

// handle takes a routed request through everything that could refuse it, to the module or to the platform itself.
func (rt *route) handle(a *answer, r *http.Request) error {
	path := below(rt.prefix, r.URL.Path)
	params, ok := rt.pattern.match(path)
	if !ok {
		return notFound()
	}
	a.module, a.route = rt.module, rt.ID
	caller, err := rt.admit(r)
	if err != nil {
		return err
	}
	upgrade, err := rt.limit(r)
	if err != nil {
		return err
	}
	if !a.forwarded { // what it says does not change, and must not be said twice
		rt.gateway.forwarding.apply(r, rt.prefix)
		a.forwarded = true
	}
	if rt.own != nil {
		return rt.answerOwn(a, r, params, caller)
	}
	ticket, err := rt.ticket(r, caller)
	if err != nil {
		return err
	}
	call := link.Call{Route: rt.ID, Params: params, Principal: caller.Principal, Ticket: ticket, Path: path}
	return rt.exchange(a, r, instance.Exchange{Call: &call, Stream: rt.endless(), Upgrade: upgrade})
}

// endless tells whether only an end from outside ends the route's exchanges.
func (rt *route) endless() bool {
	return rt.Stream == manifest.StreamSSE || rt.Stream == manifest.StreamWebSocket
}

// limit refuses what the route does not take, and bounds the body.
func (rt *route) limit(r *http.Request) (upgrade bool, err error) {
	if r.ContentLength > int64(rt.MaxBody) {
		return false, rt.tooLarge()
	}
	if r.ContentLength < 0 { // otherwise net/http reads no more than was announced
		r.Body = http.MaxBytesReader(nil, r.Body, int64(rt.MaxBody))
	}
	if r.Header["Upgrade"] == nil {
		return false, nil
	}
	if rt.Stream != manifest.StreamWebSocket || !asksForWebSocket(r) {
		return false, problem.New(http.StatusBadRequest, codeInvalid,
			"this route does not switch protocols: leave out the Upgrade header, or ask a websocket route for websocket")
	}
	return true, nil
}

func asksForWebSocket(r *http.Request) bool {
	return r.ProtoMajor == 1 && len(r.Header["Upgrade"]) == 1 && strings.EqualFold(r.Header["Upgrade"][0], "websocket") &&
		httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade")
}

func (rt *route) tooLarge() error {
	return problem.New(http.StatusRequestEntityTooLarge, codeTooLarge,
		fmt.Sprintf("the body is larger than the %s that this route takes", rt.MaxBody))
}

// exchange finds an instance and lets it answer. If that breaks before it has, another one may.
func (rt *route) exchange(a *answer, r *http.Request, ex instance.Exchange) error {
	ctx, cancel := rt.bound(a, r)
	defer cancel()
	a.abandon = cancel
	unhurry(a, r)
	if rt.Stream == manifest.StreamNone {
		ex.Call.Timeout = rt.Timeout.Std()
	}
	body := keepBody(r, rt.repeatable(r))
	defer body.release(r)
	t := trial{
		route: rt, a: a, r: r, sent: within(ctx, r), ex: ex, body: body, hold: rt.gateway.server.HoldTimeout,
	}
	err := t.run()
	var moved *movedError
	if err == nil || errors.As(err, &moved) {
		return err
	}
	return rt.explain(ctx, r, err)
}

// within returns r with the given context. Most exchanges need none of their own.
func within(ctx context.Context, r *http.Request) *http.Request {
	if ctx == r.Context() {
		return r
	}
	return r.WithContext(ctx)
}

// bound returns the context of an exchange. A stream's ends when its answer has not begun in the route's timeout, and an
// endless one's when the gateway drains. That of a short exchange is the request's: link.Call.Timeout bounds it, without a
// context of its own for each request.
func (rt *route) bound(a *answer, r *http.Request) (context.Context, context.CancelFunc) {
	timeout := rt.Timeout.Std()
	if rt.Stream == manifest.StreamNone || timeout == 0 && !rt.endless() {
		return r.Context(), func() {}
	}
	ctx, end := context.WithCancelCause(r.Context())
	if timeout > 0 {
		a.patience = time.AfterFunc(timeout, func() { end(errNoAnswer) })
	}
	stop := func() bool { return true }
	if rt.endless() {
		stop = context.AfterFunc(rt.gateway.streams, func() { end(errDraining) })
	}
	return ctx, func() {
		stop()
		a.stopPatience()
		end(nil)
	}
}

// unhurry lifts http.Server's WriteTimeout, which is made for short exchanges and on HTTP/2 resets a stream even while nobody
// writes. From here on the transport to the module sets a deadline for each piece of a body.
func unhurry(a *answer, r *http.Request) {
	if r.ProtoMajor >= 2 {
		_ = http.NewResponseController(a).SetWriteDeadline(time.Time{}) // where there is none, there is none to lift
	}
}

// explain turns the failure of an exchange into what the client is told. ctx is the exchange's, r the client's request.
func (rt *route) explain(ctx context.Context, r *http.Request, err error) error {
	var (
		tooLarge *http.MaxBytesError
		refusal  *problem.Problem
		away     *instance.NotReadyError
		full     *instance.OverloadedError
		failed   *link.ExchangeError
	)
	switch {
	case errors.As(err, &refusal):
		return refusal
	case errors.As(err, &tooLarge):
		return rt.tooLarge()
	case errors.Is(err, link.ErrRequestBody) && errors.Is(err, os.ErrDeadlineExceeded):
		return bodyLate()
	case r.Context().Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, link.ErrRequestBody)):
		return errClientGone // not by the context alone: giving up a body that stalls ends it too, when a module has died
	case errors.Is(err, context.DeadlineExceeded), errors.Is(context.Cause(ctx), errNoAnswer):
		return tookTooLong()
	case errors.Is(context.Cause(ctx), errDraining):
		return unavailable("the platform is stopping", retrySoon)
	case errors.Is(err, context.Canceled): // the instance ends its streams when it drains
		return unavailable("module "+rt.module+" is stopping", retrySoon)
	case errors.As(err, &full):
		return rt.shed(full, err)
	case errors.As(err, &away):
		return notReady(err, away)
	case errors.Is(err, link.ErrRequestBody):
		return bodyBroken()
	case errors.As(err, &failed):
		return rt.broken(r, failed)
	}
	return err
}

// broken is about a module that gave no proper answer.
func (rt *route) broken(r *http.Request, failed *link.ExchangeError) error {
	rt.gateway.log.Warn("a module gave no proper answer", "module", rt.module, "route", rt.ID,
		"request_id", r.Header.Get(headerRequestID), "reached", failed.Reached, "error", failed.Err)
	if !failed.Reached {
		return unavailable("module "+rt.module+" could not be reached; nothing has been done", retrySoon)
	}
	return problem.New(http.StatusBadGateway, codeBadGateway,
		"module "+rt.module+" ended or gave no valid answer; whether the request was carried out is not known")
}

// shed answers for a module that has as many callers as it takes.
func (rt *route) shed(full *instance.OverloadedError, err error) error {
	limit := "runtime.concurrency"
	if full.Waiting {
		limit = "waiting"
	}
	rt.gateway.metrics.shed.WithLabelValues(full.Module, limit).Inc()
	p := unavailable(err.Error(), retrySoon)
	p.Code = codeOverloaded
	return p
}

// notReady answers for a module that cannot be called now. err may have a chain before away.
func notReady(err error, away *instance.NotReadyError) error {
	if away.Coming {
		return unavailable(err.Error(), retrySoon)
	}
	return unavailable(err.Error(), retryLater)
}

package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/deadletter"
	"github.com/platformd/platformd/core/internal/jsonbody"
	"github.com/platformd/platformd/plugin-api/problem"
)

func letterOf(l bus.DeadLetter) DeadLetter {
	return DeadLetter{
		ID: l.ID, Subscription: l.Subscription, Reason: l.Failure.Reason, Error: l.Failure.Error, Attempts: l.Attempts, At: l.At,
		Event: l.Event,
	}
}

// deadLetters asks for one more than is wanted, where it can: that tells whether there is a next page.
func (a *api) deadLetters(w http.ResponseWriter, r *http.Request) error {
	given, err := parameters(r, "subscription", "module", "type", "reason", "limit", "after")
	if err != nil {
		return err
	}
	limit, err := number(given, "limit")
	if err != nil {
		return err
	}
	wanted := min(max(int(limit), 0), deadletter.MaxPage-1)
	if wanted == 0 {
		wanted = 100
	}
	f := LetterFilter{
		Subscription: given["subscription"], Module: given["module"], Type: given["type"], Reason: given["reason"],
	}
	letters, err := a.deps.Events.Letters.List(r.Context(), f.store(), wanted+1, given["after"])
	if err != nil {
		return letterProblem(err)
	}
	page := Page[DeadLetter]{Items: []DeadLetter{}}
	for _, l := range letters[:min(len(letters), wanted)] {
		page.Items = append(page.Items, letterOf(l))
	}
	if len(letters) > wanted {
		page.Next = page.Items[wanted-1].ID
	}
	return jsonbody.Write(w, http.StatusOK, page)
}

func letterProblem(err error) error {
	if errors.Is(err, deadletter.ErrNotFound) {
		return problem.New(http.StatusNotFound, "not_found", deadletter.ErrNotFound.Error())
	}
	return busProblem(err)
}

func (a *api) deadLetter(w http.ResponseWriter, r *http.Request) error {
	letter, err := a.deps.Events.Letters.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return letterProblem(err)
	}
	return jsonbody.Write(w, http.StatusOK, letterOf(letter))
}

// changeLetters does something to those that the request names.
func (a *api) changeLetters(action string, work func(context.Context, deadletter.Filter) (int64, error)) func(
	http.ResponseWriter, *http.Request,
) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var asked LetterFilter
		if err := jsonbody.Read(w, r, &asked); err != nil {
			return err
		}
		named := len(asked.IDs) > 0 || asked.Subscription+asked.Module+asked.Type+asked.Reason != ""
		if named == asked.All || asked.IDs != nil && len(asked.IDs) == 0 { // no ids are not all of them
			return badRequest(errors.New(`say which dead letters are meant, or "all": true (fix: give one of the two)`))
		}
		if err := a.haveLetters(r.Context(), asked.IDs); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(r.Context(), orderTimeout)
		defer cancel()
		noDeadline(w)
		c := change{action: action, resource: "dead-letters", details: asked.details()}
		var count int64
		err := a.perform(r, &c, func(context.Context) (err error) {
			count, err = work(ctx, asked.store())
			return letterProblem(err)
		})
		if err != nil {
			return err
		}
		return jsonbody.Write(w, http.StatusOK, Count{count})
	}
}

// details are the filter's, for the audit log.
func (f *LetterFilter) details() []string {
	return []string{
		"ids", strings.Join(f.IDs, " "), "subscription", f.Subscription, "module", f.Module, "type", f.Type, "reason", f.Reason,
		"all", strconv.FormatBool(f.All),
	}
}

// haveLetters refuses letters that are not there: who names one wants to hear that it is gone.
func (a *api) haveLetters(ctx context.Context, ids []string) error {
	for _, id := range ids {
		if _, err := a.deps.Events.Letters.Get(ctx, id); err != nil {
			return letterProblem(err)
		}
	}
	return nil
}

// retryLetters says how many letters could not be delivered, and why: an operator may leave them out.
func (a *api) retryLetters(ctx context.Context, f deadletter.Filter) (int64, error) {
	n, err := a.deps.Events.Letters.Retry(ctx, f, a.deps.Events.redeliver)
	var undelivered *deadletter.UndeliveredError
	if !errors.As(err, &undelivered) {
		return int64(n), err
	}
	var first *problem.Problem
	text := fmt.Sprintf("%d were delivered again, %d not", n, undelivered.Letters())
	for _, why := range undelivered.Reasons[:min(len(undelivered.Reasons), maxReasons)] {
		var p *problem.Problem
		if !errors.As(letterProblem(why.Err), &p) {
			return int64(n), err
		}
		if first == nil {
			first = p
		}
		text += fmt.Sprintf("; dead letter %s and %d more: %s", why.ID, why.Letters-1, p.Detail)
	}
	return int64(n), problem.New(first.Status, first.Code, text)
}

// maxReasons is how many of the reasons for which letters were not delivered are told.
const maxReasons = 5

// redeliver gives a letter back to its subscription. One that was never published has none: it was refused, and is published if
// its module may do so by now.
func (e *Events) redeliver(ctx context.Context, subscription string, event bus.Event) error {
	if subscription != "" {
		return e.Bus.Redeliver(ctx, subscription, event)
	}
	admitted, err := e.Admit(event)
	if err != nil {
		return problem.New(http.StatusPreconditionFailed, "failed_precondition", status.Convert(err).Message())
	}
	return e.publish(ctx, admitted)
}

func (a *api) purgeLetters(ctx context.Context, f deadletter.Filter) (int64, error) {
	return a.deps.Events.Letters.Purge(ctx, f)
}

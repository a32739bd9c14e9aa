package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/jsonbody"
)

// The values of the parameter order.
const (
	newestFirst = "newest"
	oldestFirst = "oldest"
)

func filterNames() []string {
	return []string{
		"actor", "via", "action", "resource", "outcome", "request_id", "from", "to", "limit", "after", "order",
	}
}

func encodeFilter(f audit.Filter) string {
	values := url.Values{}
	for name, value := range map[string]string{
		"actor": f.Actor, "via": f.Via, "action": f.Action, "resource": f.Resource, "outcome": string(f.Outcome),
		"request_id": f.RequestID,
	} {
		if value != "" {
			values.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"from": f.From, "to": f.To} {
		if !at.IsZero() {
			values.Set(name, at.Format(time.RFC3339Nano))
		}
	}
	for name, n := range map[string]int64{"limit": int64(f.Limit), "after": f.AfterSeq} {
		if n != 0 {
			values.Set(name, strconv.FormatInt(n, 10))
		}
	}
	if f.OldestFirst {
		values.Set("order", oldestFirst)
	}
	return values.Encode()
}

func readFilter(r *http.Request) (f audit.Filter, err error) {
	given, err := parameters(r, filterNames()...)
	if err != nil {
		return f, err
	}
	limit, err := number(given, "limit")
	if err != nil {
		return f, err
	}
	f = audit.Filter{
		Actor: given["actor"], Via: given["via"], Action: given["action"], Resource: given["resource"],
		Outcome: audit.Outcome(given["outcome"]), RequestID: given["request_id"], Limit: int(limit),
		OldestFirst: given["order"] == oldestFirst,
	}
	if err := checkWords(given); err != nil {
		return f, err
	}
	if f.AfterSeq, err = number(given, "after"); err != nil {
		return f, err
	}
	if f.From, err = moment(given, "from"); err != nil {
		return f, err
	}
	f.To, err = moment(given, "to")
	return f, err
}

// checkWords finds a word that would find nothing.
func checkWords(given map[string]string) error {
	outcomes := []audit.Outcome{"", audit.Allowed, audit.Denied, audit.Done, audit.Failed, audit.Unknown}
	if !slices.Contains(outcomes, audit.Outcome(given["outcome"])) {
		return badRequest(errors.New(`the parameter "outcome" is none of allowed, denied, done, failed and unknown ` +
			"(fix: use one of them)"))
	}
	if order := given["order"]; order != "" && order != newestFirst && order != oldestFirst {
		return badRequest(errors.New(`the parameter "order" is neither newest nor oldest (fix: use one of them)`))
	}
	return nil
}

func moment(given map[string]string, name string) (time.Time, error) {
	text, there := given[name]
	if !there {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, badRequest(fmt.Errorf("the parameter %q is %.40q (fix: write a time such as 2026-01-31T09:00:00Z)", name, text))
	}
	return at, nil
}

// searchAudit asks for one row more than is wanted, where it can: that tells whether there is a next page.
func (a *api) searchAudit(w http.ResponseWriter, r *http.Request) error {
	f, err := readFilter(r)
	if err != nil {
		return err
	}
	if f.Limit == 0 {
		f.Limit = 100
	}
	wanted := f.Limit
	if f.Limit < audit.MaxLimit {
		f.Limit++
	}
	rows, err := a.deps.Audit.Search(r.Context(), f)
	if err != nil {
		return err
	}
	page := Page[audit.Row]{Items: orEmpty(rows[:min(len(rows), wanted)])}
	if len(rows) == f.Limit {
		page.Next = strconv.FormatInt(page.Items[wanted-1].Seq, 10)
	}
	return jsonbody.Write(w, http.StatusOK, page)
}

var errGone = errors.New("nobody listens any more")

func (a *api) tailAudit(w http.ResponseWriter, r *http.Request) error {
	given, err := parameters(r, "after")
	if err != nil {
		return err
	}
	from, err := a.tailFrom(r.Context(), given)
	if err != nil {
		return err
	}
	out := newStream(w)
	err = a.deps.Audit.Tail(r.Context(), from, func(row audit.Row) error {
		if !send(out, row) {
			return errGone
		}
		return nil
	})
	if err != nil && r.Context().Err() == nil && !errors.Is(err, errGone) {
		a.breakOff(w, r, err)
	}
	return nil
}

// tailFrom is where to begin: "0" is the beginning of all.
func (a *api) tailFrom(ctx context.Context, given map[string]string) (int64, error) {
	switch text, there := given["after"]; {
	case there && text == "0":
		return 0, nil
	case there:
		return number(given, "after")
	}
	head, err := a.deps.Audit.Head(ctx)
	return head.Seq, err
}

// breakOff ends an answer that has begun such that the client sees that it is not whole.
func (a *api) breakOff(w http.ResponseWriter, r *http.Request, err error) {
	a.deps.Log.Error("an answer broke off", "path", r.URL.Path, "error", err)
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Unix(1, 0)) // then nothing can be written any more, the end included
	_ = control.Flush()
}

// begun is a writer of which it is known whether anything was written.
type begun struct {
	http.ResponseWriter
	has bool
}

// Write implements io.Writer; each one has its own time.
func (b *begun) Write(data []byte) (int, error) {
	b.has = true
	_ = http.NewResponseController(b.ResponseWriter).SetWriteDeadline(time.Now().Add(requestTimeout)) // as stream does
	return b.ResponseWriter.Write(data)
}

func (a *api) exportAudit(w http.ResponseWriter, r *http.Request) error {
	f, err := readFilter(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	out := &begun{ResponseWriter: w}
	err = a.deps.Audit.Export(r.Context(), out, f)
	if err != nil && out.has {
		a.breakOff(w, r, err)
		return nil
	}
	return err
}

func (a *api) verifyAudit(w http.ResponseWriter, r *http.Request) error {
	given, err := parameter(r, "expect")
	if err != nil {
		return err
	}
	var want audit.Expect
	if given != "" {
		if want, err = audit.ParseMark(given); err != nil {
			return err
		}
	}
	noDeadline(w)
	report, err := a.deps.Audit.Verify(r.Context(), want)
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, report)
}

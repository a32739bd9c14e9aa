package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/platformd/platformd/core/internal/jsonbody"
	"github.com/platformd/platformd/plugin-api/problem"
)

// Holding is something that the platform keeps of a module.
type Holding struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Count int64  `json:"count"`           // of rows, events, keys …
	Bytes int64  `json:"bytes,omitempty"` // where it is known
	Note  string `json:"note,omitempty"`
	// Stays says that a purge leaves it.
	Stays bool `json:"stays,omitempty"`
}

// PurgeStep says that a step of a purge begins.
type PurgeStep struct {
	Step string `json:"step"`
	// Number counts from 1, of Of.
	Number int `json:"number"`
	Of     int `json:"of"`
}

// Data is what can be asked about what the platform keeps of a module, of a daemon that runs or in its absence. The module need
// not be installed. Errors that somebody can act on are *problem.Problem; a module of which nothing is known is one with the
// status 404.
type Data struct {
	// Holdings lists what there is.
	Holdings func(ctx context.Context, module string) ([]Holding, error)
	// Export writes what there is, as a tar.gz. On an error what was written is not whole.
	Export func(ctx context.Context, module string, to io.Writer) error
	// Purge removes what there is, but for what stays. The module must be disabled, or gone. Once begun it is carried on by the
	// daemon, also by the next one, until all is gone.
	Purge func(ctx context.Context, module string, progress func(PurgeStep)) error
}

// Offline is what can be asked where no daemon runs.
type Offline struct {
	Migrations Migrations
	Packages   Packages
	Data       Data
}

// Data returns that of the daemon. A call takes as long as there is data.
func (c *Client) Data() Data {
	patient := c.patient()
	return Data{Holdings: patient.holdings, Export: patient.export, Purge: patient.purge}
}

func dataPath(module string) string { return "/v1/modules/" + url.PathEscape(module) + "/data" }

func (c *Client) holdings(ctx context.Context, module string) ([]Holding, error) {
	return collect[Holding](ctx, c, request{method: http.MethodGet, path: dataPath(module)})
}

func (c *Client) export(ctx context.Context, module string, to io.Writer) error {
	resp, err := c.send(ctx, request{method: http.MethodGet, path: dataPath(module) + "/export"})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(to, resp.Body); err != nil {
		return fmt.Errorf("the export was broken off: %w (fix: see `platformd logs --level error`)", err)
	}
	return nil
}

// purgeLine is one line of the answer to a purge: a step, or at the end how it went.
type purgeLine struct {
	*PurgeStep
	Ended   bool             `json:"ended,omitempty"`
	Problem *problem.Problem `json:"problem,omitempty"`
}

func (c *Client) purge(ctx context.Context, module string, progress func(PurgeStep)) error {
	resp, err := c.send(ctx, request{method: http.MethodPost, path: dataPath(module) + "/purge"})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := json.NewDecoder(resp.Body)
	for {
		var line purgeLine
		switch err := lines.Decode(&line); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("the daemon broke off: %w (fix: start it; it carries the purge on)", err)
		case line.Problem != nil:
			return line.Problem
		case line.Ended:
			return nil
		case line.PurgeStep != nil:
			progress(*line.PurgeStep)
		}
	}
}

func (a *api) holdings(w http.ResponseWriter, r *http.Request) error {
	noDeadline(w)
	all, err := a.deps.Data.Holdings(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, list[Holding]{Items: orEmpty(all)})
}

// exportData breaks the answer off where something fails after its beginning: the client must not take it for whole.
func (a *api) exportData(w http.ResponseWriter, r *http.Request) error {
	noDeadline(w)
	body := &began{Writer: w}
	w.Header().Set("Content-Type", "application/gzip")
	module := r.PathValue("name")
	c := change{action: "module.export", resource: "module/" + module}
	err := a.perform(r, &c, func(ctx context.Context) error { return a.deps.Data.Export(ctx, module, body) })
	if err != nil && body.yes {
		a.deps.Log.Error("an export failed", "module", module, "error", err)
		panic(http.ErrAbortHandler)
	}
	return err
}

// began knows whether anything was written.
type began struct {
	io.Writer
	yes bool
}

// Write implements io.Writer.
func (b *began) Write(p []byte) (int, error) {
	b.yes = true
	return b.Writer.Write(p)
}

func (a *api) purgeData(w http.ResponseWriter, r *http.Request) error {
	module := r.PathValue("name")
	c := change{action: "module.purge", resource: "module/" + module}
	return a.lines(w, func(say func(any)) error {
		tell := func(s PurgeStep) { say(purgeLine{PurgeStep: &s}) }
		return a.perform(r, &c, func(ctx context.Context) error { return a.deps.Data.Purge(ctx, module, tell) })
	})
}

// ending is the last line of an answer.
type ending struct {
	Ended   bool             `json:"ended,omitempty"`
	Problem *problem.Problem `json:"problem,omitempty"`
}

// lines answers line by line, as work goes. What goes wrong after the first line is a line, too.
func (a *api) lines(w http.ResponseWriter, work func(say func(any)) error) error {
	noDeadline(w)
	lines, began := json.NewEncoder(w), false
	say := func(line any) {
		if !began {
			began = true
			w.Header().Set("Content-Type", "application/x-ndjson")
		}
		_ = lines.Encode(line) // who asked may be gone: that ends the request's context
		_ = http.NewResponseController(w).Flush()
	}
	err := work(say)
	switch {
	case err == nil:
		say(ending{Ended: true})
	case !began:
		return err
	default:
		p, public := problem.FromError(err)
		if !public {
			a.deps.Log.Error("what was begun failed", "error", err)
		}
		say(ending{Problem: p})
	}
	return nil
}

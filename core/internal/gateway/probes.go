package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/gin-gonic/gin"
)

// Readiness is whether the platform can do its work, and what each module's part in that is.
type Readiness struct {
	Ready   bool          `json:"ready"`
	Modules []ModuleState `json:"modules,omitempty"`
}

// ModuleState is one module as /readyz shows it.
type ModuleState struct {
	Name  string `json:"name"`
	State string `json:"state"`
	// Reason says why it is not ready; empty if it is.
	Reason string `json:"reason,omitempty"`
	// Required says that the platform is not ready without it.
	Required bool `json:"required"`
}

// probes returns what answers without a module or a token, by path.
func (g *Gateway) probes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{"/livez": g.livez, "/readyz": g.readyz, "/metrics": g.metrics.page.ServeHTTP}
}

func (g *Gateway) addProbes(engine *gin.Engine) {
	for path, handler := range g.probes() {
		serve := func(c *gin.Context) {
			a := answerOf(c)
			a.module, a.route = "core", path[1:]
			handler(a, c.Request)
		}
		engine.GET(path, serve)
		engine.HEAD(path, serve)
	}
}

// livez says only that the process answers.
func (g *Gateway) livez(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, "ok") // a probe that is gone does not care
}

// readyz says whether requests should be sent here; with ?verbose why, per module.
func (g *Gateway) readyz(w http.ResponseWriter, r *http.Request) {
	state := g.ready()
	status := http.StatusOK
	if g.draining.Load() {
		state.Ready = false
	}
	if !state.Ready {
		status = http.StatusServiceUnavailable
	}
	if !r.URL.Query().Has("verbose") {
		state.Modules = nil
	}
	w.Header().Set("Cache-Control", "no-store")
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(state) // likewise
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	state.print(w, g.draining.Load())
}

// print writes the state for people.
func (s Readiness) print(w http.ResponseWriter, draining bool) {
	headline := "ready"
	switch {
	case draining:
		headline = "not ready: the platform is stopping"
	case !s.Ready:
		headline = "not ready"
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, headline)
	for _, module := range s.Modules {
		name := module.Name
		if module.Required {
			name += " (required)"
		}
		line := name + "\t" + module.State
		if module.Reason != "" {
			line += "\t" + module.Reason
		}
		_, _ = fmt.Fprintln(table, line)
	}
	_ = table.Flush() // likewise
}

package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/gin-gonic/gin"

	"github.com/platformd/platformd/core/internal/instance"
)

// stateReady is the ModuleState.State of a module that is called.
const stateReady = "ready"

// Readiness is whether the platform can do its work, and what each module's part in that is.
type Readiness struct {
	Ready bool `json:"ready"`
	// Reason says what, other than modules, keeps the platform from being ready; Detail is more of it, for ?verbose.
	Reason  string        `json:"reason,omitempty"`
	Detail  string        `json:"detail,omitempty"`
	Modules []ModuleState `json:"modules,omitempty"`
}

// ModuleState is one module as /readyz shows it.
type ModuleState struct {
	Name  string `json:"name"`
	State string `json:"state"`
	// Reason says why it is not ready; empty if it is.
	Reason string `json:"reason,omitempty"`
	// Degraded says which of a ready module's routes are not served, and why; empty if all are.
	Degraded []string `json:"degraded,omitempty"`
	// Required says that the platform is not ready without it.
	Required bool `json:"required"`
}

// probes returns what answers without a module or a token, by path.
func (g *Gateway) probes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{"/livez": livez, "/readyz": g.readyz, "/metrics": g.metrics.page.ServeHTTP}
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
func livez(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, "ok") // a probe that is gone does not care
}

// readyz says whether requests should be sent here; with ?verbose why, per module.
func (g *Gateway) readyz(w http.ResponseWriter, r *http.Request) {
	state := g.ready()
	state.Modules = g.table.Load().degrade(state.Modules)
	state.answer(w, r, g.draining.Load())
}

// answer is what a probe is told.
func (s Readiness) answer(w http.ResponseWriter, r *http.Request, draining bool) {
	status := http.StatusOK
	if draining {
		s.Ready = false
	}
	if !s.Ready {
		status = http.StatusServiceUnavailable
	}
	if !r.URL.Query().Has("verbose") {
		s.Modules, s.Detail = nil, ""
	}
	w.Header().Set("Cache-Control", "no-store")
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(s) // a probe that is gone does not care
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	s.print(w, draining)
}

// print writes the state for people.
func (s Readiness) print(w http.ResponseWriter, draining bool) {
	headline := "ready"
	switch {
	case draining:
		headline = "not ready: the platform is stopping"
	case !s.Ready:
		headline = s.headline()
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, headline)
	for _, module := range s.Modules {
		name := module.Name
		if module.Required {
			name += " (required)"
		}
		line := name + "\t" + module.State
		if len(module.Degraded) > 0 {
			line += ", degraded\t" + strings.Join(module.Degraded, "; ")
		}
		if module.Reason != "" {
			line += "\t" + module.Reason
		}
		_, _ = fmt.Fprintln(table, line)
	}
	_ = table.Flush() // likewise
}

func (s Readiness) headline() string {
	line := "not ready"
	for _, more := range []string{s.Reason, s.Detail} {
		if more != "" {
			line += ": " + more
		}
	}
	return line
}

// Degraded returns a line for each module that a ready module's routes need and do not have: what a request is told, and
// which routes; none if all are served.
func (g *Gateway) Degraded(name string) []string {
	if known := g.table.Load().modules[name]; known != nil {
		return known.degraded(g.instances)
	}
	return nil
}

// degrade adds to those modules that are ready what of them is not served, because it needs a module that is not.
func (t *table) degrade(modules []ModuleState) []ModuleState {
	modules = slices.Clone(modules)
	for i := range modules {
		if known := t.modules[modules[i].Name]; known != nil && modules[i].State == stateReady {
			modules[i].Degraded = known.degraded(t.gateway.instances)
		}
	}
	return modules
}

// degraded returns one line for each module that is missing: what a request is told, and whose requests are.
func (m *module) degraded(instances *instance.Registry) (lines []string) {
	var missing []string
	routes := map[string][]string{} // by what is told
	for _, rt := range m.routes {
		for _, name := range rt.Needs {
			err := instances.Ready(name)
			if err == nil {
				continue
			}
			told := needs(rt.module, name, err).Error()
			if routes[told] == nil {
				missing = append(missing, told)
			}
			if !slices.Contains(routes[told], rt.ID) { // a GET route is there as HEAD too
				routes[told] = append(routes[told], rt.ID)
			}
		}
	}
	for _, told := range missing {
		lines = append(lines, told+" (routes: "+strings.Join(slices.Sorted(slices.Values(routes[told])), ", ")+")")
	}
	return lines
}

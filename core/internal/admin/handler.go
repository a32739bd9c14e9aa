package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/core/internal/jsonbody"
	"github.com/platformd/platformd/core/internal/logs"
	"github.com/platformd/platformd/plugin-api/problem"
)

const (
	requestTimeout = 10 * time.Second // of everything but following logs and orders to modules
	// orderTimeout bounds an order to a module beyond what the module's own timeouts allow: it is the last resort.
	orderTimeout = time.Hour
	maxHeaders   = 64 << 10 // bytes of those of a request
)

// Deps is what the API shows and acts on. Every field is required. The functions must not block, Order, Reload,
// Migrations and Data excepted.
type Deps struct {
	Info func() Info
	// Modules returns every module that is known, those that cannot start included, sorted by name.
	Modules func() []Module
	// Crashes returns a module's last crashes, the newest first; none for a module that never ran.
	Crashes func(module string) []Crash
	// Order carries out an order to a module and returns what changed when that is done. A *problem.Problem says why it cannot be.
	Order func(ctx context.Context, module string, order Order) ([]ModuleChange, error)
	// Reload takes over whatever has changed in the modules' folder, and returns what came of that when it is done.
	Reload func(ctx context.Context) ([]ModuleChange, error)
	// Migrations may take as long as the modules.
	Migrations Migrations
	// Packages may, too.
	Packages Packages
	// Data may take as long as there is data.
	Data Data

	Users  *identity.Service
	Auth   *auth.Service
	Authz  *authz.Service
	Events Events
	// Audit hears of every change. Its Run must run.
	Audit *audit.Service
	// URL is under which clients reach the platform, without a slash at its end.
	URL  func() string
	Logs *logs.Store
	// Stop begins to stop the daemon and returns at once; calling it again is harmless.
	Stop func()
	Log  hclog.Logger
}

// Handler answers the admin API on the control socket, where the caller is the operator; see Endpoints for what there is. Errors
// are problem+json.
func Handler(deps Deps) http.Handler {
	a := &api{deps: deps}
	mux := http.NewServeMux()
	for _, e := range a.endpoints() {
		mux.Handle(e.Method+" /v1"+e.Path, a.answer(e))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			refusePath(w, r, mux)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

type api struct{ deps Deps }

// refusePath tells a wrong method from a wrong path.
func refusePath(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) {
	var possible []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "" {
			possible = append(possible, method)
		}
	}
	if len(possible) == 0 {
		problem.New(http.StatusNotFound, "not_found", "there is nothing at "+r.URL.Path).Write(w)
		return
	}
	w.Header().Set("Allow", strings.Join(possible, ", "))
	problem.New(http.StatusMethodNotAllowed, "method_not_allowed",
		fmt.Sprintf("%s is not possible here; use %s", r.Method, strings.Join(possible, " or "))).Write(w)
}

// answer runs an endpoint within its time and turns its error into a problem.
func (a *api) answer(e Endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := WithCaller(r.Context(), operator())
		if !e.Endless {
			limited, cancel := context.WithTimeout(ctx, requestTimeout)
			defer cancel()
			ctx = limited
		}
		if err := e.Serve(w, r.WithContext(ctx)); err != nil {
			a.fail(w, r, err)
		}
	})
}

func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	p, public := problem.FromError(err)
	if !public {
		a.deps.Log.Error("an admin request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		p.Detail += "\nfix: see the daemon's log: platformd logs --level error"
	}
	p.Write(w)
}

func (a *api) info(w http.ResponseWriter, _ *http.Request) error {
	return jsonbody.Write(w, http.StatusOK, a.deps.Info())
}

func (a *api) modules(w http.ResponseWriter, _ *http.Request) error {
	return jsonbody.Write(w, http.StatusOK, list[Module]{Items: normal(a.deps.Modules())})
}

func (a *api) module(w http.ResponseWriter, r *http.Request) error {
	m, err := a.find(r)
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, m)
}

// find returns the module that the path names.
func (a *api) find(r *http.Request) (Module, error) {
	modules, name := normal(a.deps.Modules()), r.PathValue("name")
	i := slices.IndexFunc(modules, func(m Module) bool { return m.Name == name })
	if i < 0 {
		return Module{}, unknownModule(name, modules)
	}
	return modules[i], nil
}

func (a *api) crashes(w http.ResponseWriter, r *http.Request) error {
	m, err := a.find(r)
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, list[Crash]{Items: orEmpty(a.deps.Crashes(m.Name))})
}

// order answers when the order has been carried out, which may take as long as the module may.
func (a *api) order(order Order) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		name := r.PathValue("name")
		if _, err := a.find(r); err != nil && order != OrderStart && order != OrderEnable { // those may be new on disk
			return err
		}
		ctx, cancel := context.WithTimeout(r.Context(), orderTimeout)
		defer cancel()
		noDeadline(w)
		c := change{action: "module." + string(order), resource: "module/" + name}
		var done []ModuleChange
		err := a.perform(r, &c, func(context.Context) (err error) {
			done, err = a.deps.Order(ctx, name, order)
			c.details = versions(done, name)
			return err
		})
		if err != nil {
			return err
		}
		return jsonbody.Write(w, http.StatusOK, list[ModuleChange]{Items: orEmpty(done)})
	}
}

// versions are the details of the change of one module among others.
func versions(done []ModuleChange, module string) (details []string) {
	for _, d := range done {
		if d.Module == module {
			details = append(details, "act", d.Act, "from", d.From, "to", d.To)
		}
	}
	return details
}

// reload answers when everything has been tried; what failed is in the answer. Each module has a row in the audit log.
func (a *api) reload(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), orderTimeout)
	defer cancel()
	noDeadline(w)
	done, err := a.deps.Reload(ctx)
	if err != nil {
		return err
	}
	for _, d := range done {
		c := change{action: "module.reload", resource: "module/" + d.Module, details: versions([]ModuleChange{d}, d.Module)}
		outcome := audit.Done
		if d.Problem != "" {
			outcome = audit.Failed
			c.details = append(c.details, "reason", d.Problem)
		}
		a.record(r, c, outcome)
	}
	return jsonbody.Write(w, http.StatusOK, list[ModuleChange]{Items: orEmpty(done)})
}

// stop answers first: the daemon closes this very connection when it stops, and the audit log too.
func (a *api) stop(w http.ResponseWriter, r *http.Request) error {
	info := a.deps.Info()
	err := jsonbody.Write(w, http.StatusAccepted, Stopping{PID: info.PID, WithinMillis: info.StopMillis})
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	a.record(r, change{action: "system.stop", resource: "system"}, audit.Done)
	a.deps.Stop()
	return err
}

// noContent answers that all is done, unless err says otherwise.
func noContent(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// badRequest tells the client what err says.
func badRequest(err error) error {
	return problem.New(http.StatusBadRequest, "invalid_argument", err.Error())
}

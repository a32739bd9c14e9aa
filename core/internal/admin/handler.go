package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/logs"
	"github.com/platformd/platformd/plugin-api/problem"
)

const (
	requestTimeout = 10 * time.Second // of everything but following logs and orders to modules
	// orderTimeout bounds an order to a module beyond what the module's own timeouts allow: it is the last resort.
	orderTimeout = time.Hour
	maxRequest   = 64 << 10 // bytes of a request's body
)

// Deps is what the API shows and acts on. Every field is required. The functions must not block, Order and Migrations excepted.
type Deps struct {
	Info func() Info
	// Modules returns every module that is known, those that cannot start included, sorted by name.
	Modules func() []Module
	// Crashes returns a module's last crashes, the newest first; none for a module that never ran.
	Crashes func(module string) []Crash
	// Order carries out an order to a module and returns when that is done. A *problem.Problem says why it cannot be.
	Order func(ctx context.Context, module string, order Order) error
	// Migrations may take as long as the modules.
	Migrations Migrations

	Tokens      *auth.Service
	Permissions *authz.Registry
	Logs        *logs.Store
	// Stop begins to stop the daemon and returns at once; calling it again is harmless.
	Stop func()
	Log  hclog.Logger
}

// Handler answers the admin API:
//
//	GET    /v1/info
//	GET    /v1/modules            {"items": [Module…]}
//	GET    /v1/modules/{name}     Module
//	GET    /v1/modules/{name}/crashes  {"items": [Crash…]}
//	POST   /v1/modules/{name}/start|stop|restart  204, when it is done
//	GET    /v1/migrations?module=NAME  {"items": [ModuleMigrations…]}; without a name, of all that have some
//	GET    /v1/modules/{name}/migrations/plan  {"items": [PlannedMigration…]}
//	POST   /v1/modules/{name}/migrations/up|down|redo?steps=N  MigrationEvent, one a line, then how it ended
//	GET    /v1/tokens             {"items": [auth.Token…]}
//	POST   /v1/tokens             NewToken → 201 CreatedToken
//	DELETE /v1/tokens/{id}        204
//	GET    /v1/logs               logs.Entry, one JSON value a line; see LogQuery for the parameters
//	POST   /v1/stop               202 Stopping
//
// Errors are problem+json.
func Handler(deps Deps) http.Handler {
	a := &api{deps: deps}
	mux := http.NewServeMux()
	allowed := map[string][]string{}
	for _, e := range a.endpoints() {
		mux.Handle(e.method+" "+e.path, a.answer(e))
		allowed[e.path] = append(allowed[e.path], e.method)
	}
	for path, methods := range allowed {
		mux.Handle(path, refuseMethod(methods))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem.New(http.StatusNotFound, "not_found", "there is nothing at "+r.URL.Path).Write(w)
	})
	return mux
}

type api struct{ deps Deps }

type endpoint struct {
	method, path string
	serve        func(http.ResponseWriter, *http.Request) error
	endless      bool // ends with the client
}

func (a *api) endpoints() []endpoint {
	return []endpoint{
		{method: http.MethodGet, path: "/v1/info", serve: a.info},
		{method: http.MethodGet, path: "/v1/modules", serve: a.modules},
		{method: http.MethodGet, path: "/v1/modules/{name}", serve: a.module},
		{method: http.MethodGet, path: "/v1/modules/{name}/crashes", serve: a.crashes},
		{method: http.MethodPost, path: "/v1/modules/{name}/start", serve: a.order(OrderStart), endless: true},
		{method: http.MethodPost, path: "/v1/modules/{name}/stop", serve: a.order(OrderStop), endless: true},
		{method: http.MethodPost, path: "/v1/modules/{name}/restart", serve: a.order(OrderRestart), endless: true},
		{method: http.MethodGet, path: "/v1/migrations", serve: a.migrations, endless: true},
		{method: http.MethodGet, path: "/v1/modules/{name}/migrations/plan", serve: a.migrationPlan, endless: true},
		{method: http.MethodPost, path: "/v1/modules/{name}/migrations/up", serve: a.migrate(MigrateUp), endless: true},
		{method: http.MethodPost, path: "/v1/modules/{name}/migrations/down", serve: a.migrate(MigrateDown), endless: true},
		{method: http.MethodPost, path: "/v1/modules/{name}/migrations/redo", serve: a.migrate(MigrateRedo), endless: true},
		{method: http.MethodGet, path: "/v1/tokens", serve: a.tokens},
		{method: http.MethodPost, path: "/v1/tokens", serve: a.createToken},
		{method: http.MethodDelete, path: "/v1/tokens/{id}", serve: a.revokeToken},
		{method: http.MethodGet, path: "/v1/logs", serve: a.logs, endless: true},
		{method: http.MethodPost, path: "/v1/stop", serve: a.stop},
	}
}

func refuseMethod(methods []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", strings.Join(methods, ", "))
		problem.New(http.StatusMethodNotAllowed, "method_not_allowed",
			fmt.Sprintf("%s is not possible here; use %s", r.Method, strings.Join(methods, " or "))).Write(w)
	})
}

// answer runs an endpoint within its time and turns its error into a problem.
func (a *api) answer(e endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !e.endless {
			ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
			defer cancel()
			r = r.WithContext(ctx)
		}
		if err := e.serve(w, r); err != nil {
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
	return writeJSON(w, http.StatusOK, a.deps.Info())
}

func (a *api) modules(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, list[Module]{Items: normal(a.deps.Modules())})
}

func (a *api) module(w http.ResponseWriter, r *http.Request) error {
	m, err := a.find(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, m)
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
	return writeJSON(w, http.StatusOK, list[Crash]{Items: orEmpty(a.deps.Crashes(m.Name))})
}

// order answers when the order has been carried out, which may take as long as the module may.
func (a *api) order(order Order) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		m, err := a.find(r)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(r.Context(), orderTimeout)
		defer cancel()
		noDeadline(w)
		if err := a.deps.Order(ctx, m.Name, order); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// stop answers first: the daemon closes this very connection when it stops.
func (a *api) stop(w http.ResponseWriter, _ *http.Request) error {
	info := a.deps.Info()
	err := writeJSON(w, http.StatusAccepted, Stopping{PID: info.PID, WithinMillis: info.StopMillis})
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	a.deps.Stop()
	return err
}

func writeJSON(w http.ResponseWriter, status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client may be gone; there is nobody left to tell
	return nil
}

// readJSON reads a body that holds one JSON value and no key that into does not have.
func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return problem.New(http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("the body has more than %d bytes", maxRequest))
	}
	if err != nil {
		return badRequest(fmt.Errorf("read the body: %w", err))
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return badRequest(fmt.Errorf("decode the body: %w", err))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return badRequest(errors.New("the body goes on after its JSON value"))
	}
	return nil
}

// badRequest tells the client what err says.
func badRequest(err error) error {
	return problem.New(http.StatusBadRequest, "invalid_argument", err.Error())
}

package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/problem"
)

// sample is a step's begin and its end.
var sample = []MigrationEvent{
	{ID: "0002_tags", Down: true, Number: 1, Of: 2}, {ID: "0002_tags", Down: true, Done: true, Millis: 7, Number: 1, Of: 2},
}

// migrations answers as a daemon with one module, blog, would.
func migrations(run func(ctx context.Context, order MigrationOrder, progress func(MigrationEvent)) error) Migrations {
	known := func(module string) error {
		if module == "" || module == "blog" {
			return nil
		}
		return UnknownModule(module, []string{"blog"}, "platformd migrate status")
	}
	return Migrations{
		Status: func(_ context.Context, module string) ([]ModuleMigrations, error) {
			return []ModuleMigrations{{Module: "blog", Steps: []Migration{{ID: "0001_posts", State: "pending"}}}}, known(module)
		},
		Plan: func(_ context.Context, module string) ([]ModulePlan, error) {
			steps := []PlannedMigration{{ID: "0001_posts", Statements: []string{"CREATE TABLE blog_posts (n integer)"}}}
			return []ModulePlan{{Module: "blog", Steps: steps}}, known(module)
		},
		Run: func(ctx context.Context, module string, order MigrationOrder, progress func(MigrationEvent)) error {
			if err := known(module); err != nil {
				return err
			}
			return run(ctx, order, progress)
		},
	}
}

// startMigrating serves the API with what carries out an order.
func startMigrating(t *testing.T, run func(context.Context, MigrationOrder, func(MigrationEvent)) error) *server {
	t.Helper()
	return startWith(t, func(deps *Deps) { deps.Migrations = migrations(run) })
}

func TestMigrationsAreShownAndPlanned(t *testing.T) {
	t.Parallel()
	m := startMigrating(t, nil).Migrations()
	for _, module := range []string{"", "blog"} {
		all, err := m.Status(t.Context(), module)
		require.NoError(t, err)
		require.Equal(t, []ModuleMigrations{{Module: "blog", Steps: []Migration{{ID: "0001_posts", State: "pending"}}}}, all)
		plans, err := m.Plan(t.Context(), module)
		require.NoError(t, err)
		require.Equal(t, []string{"CREATE TABLE blog_posts (n integer)"}, plans[0].Steps[0].Statements)
	}
	_, err := m.Status(t.Context(), "blgo")
	require.Contains(t, requireProblem(t, err, http.StatusNotFound, "not_found"), "did you mean blog?")
	_, err = m.Plan(t.Context(), "blgo & co")
	requireProblem(t, err, http.StatusNotFound, "not_found")
}

func TestAnOrderTellsHowItGoes(t *testing.T) {
	t.Parallel()
	var got MigrationOrder
	s := startMigrating(t, func(_ context.Context, order MigrationOrder, progress func(MigrationEvent)) error {
		got = order
		for _, e := range sample {
			progress(e)
		}
		return nil
	})
	for _, order := range []MigrationOrder{{MigrateUp, 1}, {MigrateDown, 2}, {MigrateRedo, 1}} {
		var events []MigrationEvent
		progress := func(e MigrationEvent) { events = append(events, e) }
		require.NoError(t, s.Migrations().Run(t.Context(), "blog", order, progress))
		require.Equal(t, sample, events)
		require.Equal(t, order, got)
	}
	resp, body := s.raw(t, http.MethodPost, "/v1/modules/blog/migrations/down", "")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "application/x-ndjson", resp.Header.Get("Content-Type"))
	lines := []string{
		`{"id":"0002_tags","down":true,"number":1,"of":2}`, `{"id":"0002_tags","down":true,"done":true,"ms":7,"number":1,"of":2}`,
		`{"ended":true}`,
	}
	require.Equal(t, lines, strings.Split(strings.TrimSpace(body), "\n"))
	require.Equal(t, MigrationOrder{MigrateDown, 1}, got, "one, if nothing is said")
}

// A failure is the same to who asked, before the first event (a status) and after it (a line).
func TestAnOrderThatFails(t *testing.T) {
	t.Parallel()
	for name, began := range map[string]int{"at once": 0, "within": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, test := range []struct {
				err          error
				status       int
				code, detail string
			}{
				{
					problem.New(http.StatusConflict, "failed_precondition", "it is locked\nfix: wait"), 409,
					"failed_precondition", "it is locked\nfix: wait",
				},
				{errors.New("a secret of the core's"), 500, "internal", "internal error"},
			} {
				s := startMigrating(t, func(_ context.Context, _ MigrationOrder, progress func(MigrationEvent)) error {
					for _, e := range sample[:began] {
						progress(e)
					}
					return test.err
				})
				seen := 0
				err := s.Migrations().Run(t.Context(), "blog", MigrationOrder{Direction: MigrateUp}, func(MigrationEvent) { seen++ })
				require.Contains(t, requireProblem(t, err, test.status, test.code), test.detail)
				require.NotContains(t, err.Error(), "secret")
				require.Equal(t, began, seen)
			}
		})
	}
	s := startMigrating(t, nil)
	err := s.Migrations().Run(t.Context(), "blgo", MigrationOrder{Direction: MigrateUp}, nil)
	requireProblem(t, err, http.StatusNotFound, "not_found")
}

func TestBadRequestsAboutMigrations(t *testing.T) {
	t.Parallel()
	s := startMigrating(t, func(context.Context, MigrationOrder, func(MigrationEvent)) error { return nil })
	for _, test := range []struct{ method, path, says string }{
		{"GET", "/v1/migrations?modul=blog", `there is no such parameter; use module`},
		{"GET", "/v1/migrations?module=blog&module=hello", `"module" is there twice`},
		{"GET", "/v1/migrations/plan?mode=x", `use module`},
		{"GET", "/v1/migrations?module=%zz", "invalid URL escape"},
		{"POST", "/v1/modules/blog/migrations/down?steps=0", `above 0`},
		{"POST", "/v1/modules/blog/migrations/down?steps=-1", `above 0`},
		{"POST", "/v1/modules/blog/migrations/down?steps=many", `above 0`},
		{"POST", "/v1/modules/blog/migrations/down?steps=99999999999", `above 0`},
		{"POST", "/v1/modules/blog/migrations/up?step=1", `use steps`},
	} {
		resp, body := s.raw(t, test.method, test.path, "")
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, test.path)
		require.Contains(t, strings.ReplaceAll(body, `\"`, `"`), test.says, test.path)
	}
	for path, status := range map[string]int{
		"/v1/modules/blog/migrations/sideways": http.StatusNotFound, "/v1/modules/blog/migrations/up": http.StatusMethodNotAllowed,
	} {
		resp, _ := s.raw(t, http.MethodGet, path, "")
		require.Equal(t, status, resp.StatusCode, path)
	}
}

// Who asked may go away, and the daemon may stop: either ends what runs.
func TestWhatEndsAnOrder(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(s *server, cancel func())
		says string
	}{
		"the client goes":  {func(_ *server, cancel func()) { cancel() }, "context canceled"},
		"the daemon stops": {func(s *server, _ func()) { _ = s.end() }, "the platform stops, and the migration with it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			running, ended := make(chan struct{}), make(chan struct{})
			s := startMigrating(t, func(ctx context.Context, _ MigrationOrder, progress func(MigrationEvent)) error {
				progress(sample[0])
				close(running)
				defer close(ended)
				<-ctx.Done()
				return ctx.Err()
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			answered := make(chan error, 1)
			go func() {
				answered <- s.Migrations().Run(ctx, "blog", MigrationOrder{Direction: MigrateUp}, func(MigrationEvent) {})
			}()
			requireClosed(t, running)
			test.end(s, cancel)
			requireClosed(t, ended)
			require.ErrorContains(t, <-answered, test.says)
		})
	}
}

// A daemon that is killed says nothing, which is not "it went well".
func TestABrokenAnswerIsAFailure(t *testing.T) {
	t.Parallel()
	s := startMigrating(t, func(_ context.Context, _ MigrationOrder, progress func(MigrationEvent)) error {
		progress(sample[0])
		panic(http.ErrAbortHandler)
	})
	err := s.Migrations().Run(t.Context(), "blog", MigrationOrder{Direction: MigrateUp}, func(MigrationEvent) {})
	require.ErrorContains(t, err, "the daemon broke off")
	require.ErrorContains(t, err, "(fix: ")
}

func requireClosed(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(deadline):
		t.Fatal("waited too long")
	}
}

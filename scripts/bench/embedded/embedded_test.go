package embedded

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
)

const declared = `apiVersion: platformd/v1
name: notes
version: 0.1.0
permissions: [{ name: notes.note.read, description: Read notes }]
routes:
  - { id: read, method: GET, path: "/notes/{id}/{rest...}", permission: notes.note.read, summary: Who reads what }
  - { id: write, method: POST, path: /notes, permission: notes.note.read, maxBody: 1KiB, summary: Keep a note }
  - { id: open, method: GET, path: /open, access: public, summary: For everybody }
  - { id: fail, method: GET, path: /fail, access: public, summary: It fails }
  - { id: half, method: GET, path: /half, access: public, summary: It fails halfway }
grants: { database: true }
migrations: go
`

// Note is a row of notes_notes.
type Note struct{ Text string }

// notes is a module that keeps what it is sent.
func notes() pluginapi.Module {
	var own *gorm.DB
	return pluginapi.Module{
		Migrations: db.Migrations(db.Migration{ID: "0001", Up: func(tx *gorm.DB) error {
			return tx.Migrator().CreateTable(&Note{})
		}}),
		Init: func(ctx context.Context, core *pluginapi.Core) (err error) {
			own, err = db.Open(ctx, core)
			return err
		},
		Stop: func(context.Context) error { return db.Close(own) },
		Routes: map[string]pluginapi.Handler{
			"read": func(w http.ResponseWriter, r *http.Request) error {
				_, err := io.WriteString(w, strings.Join([]string{
					pluginapi.PrincipalFrom(r.Context()).Name, r.PathValue("id"), r.PathValue("rest"), r.URL.Path, r.URL.RawQuery,
				}, " "))
				return err
			},
			"write": func(w http.ResponseWriter, r *http.Request) error {
				var note Note
				if err := pluginapi.ReadJSON(r, &note); err != nil {
					return err
				}
				return own.WithContext(r.Context()).Create(&note).Error
			},
			"open": func(w http.ResponseWriter, r *http.Request) error {
				_, err := io.WriteString(w, pluginapi.PrincipalFrom(r.Context()).Kind)
				return err
			},
			"fail": func(http.ResponseWriter, *http.Request) error { return status.Error(codes.NotFound, "there is none") },
			"half": func(w http.ResponseWriter, _ *http.Request) error {
				_, _ = io.WriteString(w, "half")
				return status.Error(codes.NotFound, "there is none")
			},
		},
	}
}

func TestModuleInGin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	order := Order{
		Manifest: filepath.Join(dir, "module.yaml"), Token: "secret",
		Database: pluginapi.Database{Driver: "sqlite", Source: filepath.Join(dir, "notes.db"), TablePrefix: "notes_"},
	}
	require.NoError(t, os.WriteFile(order.Manifest, []byte(declared), 0o600))
	module := notes()
	h, err := start(t.Context(), order, module)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, module.Stop(context.WithoutCancel(t.Context()))) })
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)

	for name, c := range map[string]struct {
		method, path, token, body string
		status                    int
		want                      string
	}{
		"without a token":     {"GET", "/notes/7/a/b", "", "", 401, "unauthenticated"},
		"with a wrong token":  {"GET", "/notes/7/a/b", "secreT", "", 401, "unauthenticated"},
		"with the token":      {"GET", "/notes/7/a/b?q=1", "secret", "", 200, "embedded 7 a/b /notes/7/a/b q=1"},
		"for everybody":       {"GET", "/open", "", "", 200, "anonymous"},
		"an error":            {"GET", "/fail", "", "", 404, "there is none"},
		"a note":              {"POST", "/notes", "secret", `{"Text": "hello"}`, 200, ""},
		"a note without data": {"POST", "/notes", "secret", `{"Text": 1}`, 400, "invalid_argument"},
		"a long note":         {"POST", "/notes", "secret", `{"Text": "` + strings.Repeat("x", 2000) + `"}`, 413, "too_large"},
	} {
		req, err := http.NewRequest(c.method, server.URL+"/api/v1/notes"+c.path, strings.NewReader(c.body))
		require.NoError(t, err)
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		res, err := server.Client().Do(req)
		require.NoError(t, err, name)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err, name)
		require.NoError(t, res.Body.Close())
		require.Equal(t, c.status, res.StatusCode, "%s: %s", name, body)
		require.Contains(t, string(body), c.want, name)
	}

	_, err = server.Client().Get(server.URL + "/api/v1/notes/half")
	require.Error(t, err, "nobody must take a part for the whole")

	again := notes()
	_, err = start(t.Context(), order, again)
	require.NoError(t, err, "what has been migrated is not migrated again")
	require.NoError(t, again.Stop(t.Context()))
}

func TestEveryRouteNeedsAHandler(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "module.yaml")
	require.NoError(t, os.WriteFile(path, []byte(declared), 0o600))
	_, err := start(t.Context(), Order{Manifest: path}, pluginapi.Module{})
	require.ErrorContains(t, err, "no handler for its route read (fix:")
}

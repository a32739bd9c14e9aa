package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/catalog"
)

// TestWhatIsTold: those who are turned away, and those who may change something of a module because of a permission; nobody who
// reads, and nothing that is anybody's to do.
func TestWhatIsTold(t *testing.T) {
	t.Parallel()
	const manifest = `apiVersion: platformd/v1
name: echo
version: 1.0.0
permissions:
  - { name: echo.thing.read, description: Read }
routes:
  - { id: read,  method: GET,    path: /read,  permission: echo.thing.read }
  - { id: write, method: POST,   path: /write, permission: echo.thing.read }
  - { id: drop,  method: DELETE, path: /drop,  permission: echo.thing.read }
  - { id: open,  method: POST,   path: /open,  access: public }
`
	told := &denials{}
	f := start(t, func(d *Deps) { d.Ruled = told.tell })
	require.Empty(t, f.gateway.SetModules([]*catalog.Module{parse(t, manifest)}, nil))
	for _, c := range []struct {
		method, path, token string
		reason              string // "-": nothing is told
	}{
		{http.MethodGet, "read", goodToken, "-"},
		{http.MethodHead, "read", goodToken, "-"},
		{http.MethodPost, "write", goodToken, ""},
		{http.MethodDelete, "drop", goodToken, ""},
		{http.MethodPost, "open", goodToken, "-"},
		{http.MethodPost, "write", "", ReasonNoCredentials},
		{http.MethodGet, "read", "unknown", ReasonInvalid},
	} {
		id := c.method + "." + c.path + "." + c.token
		headers := []string{"X-Request-Id: " + id}
		if c.token != "" {
			headers = append(headers, "Authorization: Bearer "+c.token)
		}
		f.do(c.method, "/api/v1/echo/"+c.path, strings.NewReader(""), headers...)
		ruling, ok := told.of(id)
		require.Equal(t, c.reason != "-", ok, id)
		if ok {
			require.Equal(t, c.reason, ruling.Reason, id)
			require.Equal(t, []string{"echo", c.path, "echo.thing.read"}, []string{ruling.Module, ruling.Route, ruling.Permission}, id)
		}
	}
}

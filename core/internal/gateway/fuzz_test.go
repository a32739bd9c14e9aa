package gateway

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/canonical"
	"github.com/platformd/platformd/core/internal/canonical/canonicaltest"
	"github.com/platformd/platformd/core/internal/catalog"
)

// FuzzDecision: what is canonical reaches, over net/http and the router, the route that a reader of the path would expect;
// what is not is refused. Package canonical fuzzes what canonical means.
func FuzzDecision(f *testing.F) {
	for _, entry := range canonicaltest.Corpus(f) {
		f.Add(entry.Raw)
	}
	g, err := New(newDeps(io.Discard))
	require.NoError(f, err)
	require.Empty(f, g.SetModules([]*catalog.Module{withRoutes("m", "GET /{a}", "GET /{a}/{b}", "GET /{a}/{b}/{rest...}")}, nil))
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /api/v1/m" + raw + " HTTP/1.1\r\nHost: x\r\n\r\n")))
		if err != nil {
			return // net/http answers 400
		}
		requireDecision(t, g, r)
	})
}

// requireDecision checks that a request is refused, or routed as a reader of its path would.
func requireDecision(t *testing.T, g *Gateway, r *http.Request) {
	t.Helper()
	raw, _, _ := strings.Cut(r.RequestURI, "?")
	w := httptest.NewRecorder()
	a := &answer{ResponseWriter: w, closing: &g.closing}
	if err := checkTarget(r); err != nil {
		require.Error(t, canonical.Check(raw), "%q", r.RequestURI)
		return
	}
	require.NoError(t, canonical.Check(raw), "%q", r.RequestURI)
	g.route(a, r)
	decoded, err := url.PathUnescape(raw)
	require.NoError(t, err)
	below, found := strings.CutPrefix(decoded, "/api/v1/m/")
	count := min(strings.Count(below, "/"), 2)
	if !found || below == "" || strings.HasSuffix(below, "/") {
		require.Equal(t, http.StatusNotFound, w.Code)
		return
	}
	require.Equal(t, http.StatusServiceUnavailable, w.Code, "it has no instance")
	require.Equal(t, []string{"GET /{a}", "GET /{a}/{b}", "GET /{a}/{b}/{rest...}"}[count], a.route)
	params, ok := patternOf(strings.TrimPrefix(a.route, "GET ")).match("/" + below)
	require.True(t, ok)
	var values []string
	for _, param := range params {
		values = append(values, param.Value)
	}
	require.Equal(t, below, strings.Join(values, "/"))
}

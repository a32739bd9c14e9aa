package gateway

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRawPath(t *testing.T) {
	for target, want := range map[string]string{
		"/a?b/../c":             "/a",
		"http://host/a//b?c":    "/a//b",
		"HTTPS://host:8080/a":   "/a",
		"http://host":           "/",
		"http://host?a=/../b":   "/",
		"http://[::1]:80/a":     "/a",
		"*":                     "",
		"host:443":              "",
		"":                      "",
		"a/b":                   "",
		"ftp://host/a":          "",
		"http:a/b":              "",
		"http:/a":               "",
		"http:///a":             "",
		"http://":               "",
		"http://u:p@host/a":     "",
		"http://u@host":         "",
		"javascript://x/%0aa()": "",
	} {
		got, ok := rawPath(target)
		require.Equal(t, want != "", ok, target)
		if ok {
			require.Equal(t, want, got, target)
		}
	}
}

// TestCheckTargetAgreesWithTheRouter: what has been checked is what the router will look at.
func TestCheckTargetAgreesWithTheRouter(t *testing.T) {
	request := func(target, routed string) *http.Request {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.RequestURI, r.URL = target, &url.URL{Path: routed}
		return r
	}
	require.NoError(t, checkTarget(request("/a%20b", "/a b")))
	require.Error(t, checkTarget(request("/a%20b", "/a%20b")))
	require.Error(t, checkTarget(request("/public", "/secret")))
	empty := request("http://host", "")
	require.NoError(t, checkTarget(empty))
	require.Equal(t, "/", empty.URL.Path)
}

func TestQueryParamLimit(t *testing.T) {
	for params, fine := range map[int]bool{1: true, maxQueryParams: true, maxQueryParams + 1: false} {
		query := strings.Repeat("&a", params)[1:]
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/a?"+query, nil)
		require.Equal(t, fine, checkTarget(r) == nil, params)
	}
}

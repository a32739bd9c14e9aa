package gateway

import (
	"bufio"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// corpusEntry is one line of testdata/paths.txt: a verdict, and a raw path as a Go string.
type corpusEntry struct {
	raw       string
	canonical bool
}

func corpus(t testing.TB) []corpusEntry {
	t.Helper()
	file, err := os.Open("testdata/paths.txt")
	require.NoError(t, err)
	defer file.Close()
	var entries []corpusEntry
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		verdict, quoted, _ := strings.Cut(line, " ")
		raw, err := strconv.Unquote(quoted)
		require.NoError(t, err, line)
		require.Contains(t, []string{"accept", "refuse"}, verdict, line)
		entries = append(entries, corpusEntry{raw, verdict == "accept"})
	}
	return entries
}

func TestCheckPathCorpus(t *testing.T) {
	entries := corpus(t)
	require.GreaterOrEqual(t, len(entries), 300)
	for _, entry := range entries {
		err := CheckPath(entry.raw)
		if entry.canonical {
			require.NoError(t, err, "%q", entry.raw)
			requireCanonical(t, entry.raw)
		} else {
			require.Error(t, err, "%q", entry.raw)
		}
	}
}

func TestDecodePath(t *testing.T) {
	for raw, want := range map[string]string{
		"/":                      "/",
		"/a/b":                   "/a/b",
		"/a/":                    "/a/",
		"/a%20b":                 "/a b",
		"/a%2eb":                 "/a.b",
		"/caf%C3%A9":             "/caf\u00e9",
		"/caf\u00e9":             "/caf\u00e9",
		"/100%25":                "/100%",
		"/%2541":                 "/%41", // once, not twice
		"/a;b=c":                 "/a;b=c",
		"/a+b":                   "/a+b",
		"/...":                   "/...",
		"/.hidden":               "/.hidden",
		"/%3f%23":                "/?#",
		"/:id/*rest/{x}":         "/:id/*rest/{x}",
		"/%E2%80%A6%F0%9F%8D%8C": "/\u2026\U0001f34c",
	} {
		got, err := decodePath(raw)
		require.NoError(t, err, "%q", raw)
		require.Equal(t, want, got)
	}
}

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

// TestCheckPathMutated is a fuzz test's poor sister for every run: more paths, by chance only.
func TestCheckPathMutated(t *testing.T) {
	t.Parallel()
	entries := corpus(t)
	pieces := []string{"/", "//", "..", ".", "%", "%25", "%2e", "%2f", "%5c", "%00", "\\", "a",
		"%61", "%c3%a9", "\xff", "%c0%ae", "2e", "5"}
	random := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for range 100_000 {
		raw := entries[random.IntN(len(entries))].raw
		for range 1 + random.IntN(4) {
			at := random.IntN(len(raw) + 1)
			raw = raw[:at] + pieces[random.IntN(len(pieces))] + raw[at+random.IntN(len(raw)-at+1):]
		}
		if CheckPath(raw) == nil {
			requireCanonical(t, raw)
			accepted++
		}
	}
	require.Greater(t, accepted, 1000)
}

// requireCanonical holds for every path that CheckPath accepts.
func requireCanonical(t *testing.T, raw string) {
	t.Helper()
	decoded, err := url.PathUnescape(raw)
	require.NoError(t, err)
	require.True(t, utf8.ValidString(decoded))
	require.Equal(t, strings.Count(raw, "/"), strings.Count(decoded, "/"), "an escape made a segment")
	require.NotContains(t, decoded, `\`)
	require.Equal(t, -1, strings.IndexFunc(decoded, func(r rune) bool { return r < ' ' || 0x7f <= r && r <= 0x9f }))
	requireClean(t, decoded)
	for again := decoded; unescapeLeniently(again) != again; {
		again = unescapeLeniently(again)
		require.Equal(t, strings.Count(decoded, "/"), strings.Count(again, "/"), "decoded again, it has other segments")
		requireClean(t, again)
	}
	parsed, err := url.ParseRequestURI(raw)
	require.NoError(t, err)
	require.Equal(t, decoded, parsed.Path, "net/http sees another path")
}

// requireClean uses another judge than the code does.
func requireClean(t *testing.T, decoded string) {
	t.Helper()
	if decoded != "/" {
		decoded = strings.TrimSuffix(decoded, "/")
	}
	require.Equal(t, path.Clean(decoded), decoded)
}

// unescapeLeniently decodes what can be decoded, as a careless module might.
func unescapeLeniently(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if n, err := strconv.ParseUint(s[min(i+1, len(s)):min(i+3, len(s))], 16, 8); s[i] == '%' && i+2 < len(s) && err == nil {
			out.WriteByte(byte(n))
			i += 2
			continue
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

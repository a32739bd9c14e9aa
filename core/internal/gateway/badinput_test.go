package gateway

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/canonical/canonicaltest"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
)

func get(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n" }

// ask is get for a path below the echo module's prefix, with headers.
func ask(path string, headers ...string) string {
	return "GET /api/v1/echo/" + path + " HTTP/1.1\r\nHost: x\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n"
}

// head is the head of a request that may have a body.
func head(headers ...string) string {
	return "POST /api/v1/echo/post HTTP/1.1\r\nHost: x\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n"
}

// refusedByUs is what the gateway itself answers with 400.
func refusedByUs() map[string]string {
	return map[string]string{
		"dot segments":                 get("/api/v1/echo/a/../public/x"),
		"leading dot segments":         get("/../api/v1/echo/public/x"),
		"escaped dot segments":         get("/api/v1/echo/%2e%2e/echo/public/x"),
		"dots escaped twice":           get("/api/v1/echo/public/%252e%252e"),
		"escaped slash":                get("/api/v1/echo/public%2fx"),
		"escaped backslash":            get("/api/v1/echo/public/%5cx"),
		"escaped NUL":                  get("/api/v1/echo/public/%00"),
		"two slashes":                  get("/api/v1/echo//public/x"),
		"two leading slashes":          get("//api/v1/echo/public/x"),
		"backslash":                    get(`/api/v1/echo\public/x`),
		"raw 0xff":                     get("/api/v1/echo/public/\xff"),
		"escaped 0xff":                 get("/api/v1/echo/public/%ff"),
		"fragment":                     get("/api/v1/echo/public/x#y"),
		"asterisk":                     get("*"),
		"OPTIONS asterisk":             "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT":                      "CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
		"another scheme":               get("ftp://x/api/v1/echo/public/x"),
		"credentials in the target":    get("http://u:p@x/api/v1/echo/public/x"),
		"absolute form, dot segments":  get("http://x/api/v1/echo/../echo/public/x"),
		"too many parameters":          get("/api/v1/echo/public/x?" + strings.Repeat("a&", 10_000)),
		"HTTP/2 preface":               "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"Upgrade where none is":        ask("public/x", "Connection: Upgrade", "Upgrade: websocket"),
		"Upgrade to something else":    ask("socket", "Connection: Upgrade", "Upgrade: h2c"),
		"Upgrade without Connection":   ask("socket", "Upgrade: websocket"),
		"two Upgrades":                 ask("socket", "Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c"),
		"bad chunk size":               head("Transfer-Encoding: chunked") + "zz\r\nhello\r\n0\r\n\r\n",
		"chunk that goes on too far":   head("Transfer-Encoding: chunked") + "2\r\nhello\r\n0\r\n\r\n",
		"a path of the probes, spoilt": get("/livez/../readyz"),
	}
}

// refusedByNetHTTP is what net/http answers with 400, some of it because checkedConn makes it to.
func refusedByNetHTTP() map[string]string {
	return map[string]string{
		"bad escape":                      get("/api/v1/echo/public/%zz"),
		"control byte":                    get("/api/v1/echo/public/\x01"),
		"NUL":                             get("/api/v1/echo/public/\x00"),
		"space":                           get("/api/v1/echo/public/a b"),
		"relative target":                 get("api/v1/echo/public/x"),
		"no Host":                         "GET / HTTP/1.1\r\n\r\n",
		"two Hosts":                       "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"bad Host":                        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
		"Content-Length and chunked":      head("Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\n",
		"chunked and Content-Length":      head("Transfer-Encoding: chunked", "Content-Length: 5") + "0\r\n\r\n",
		"chunked in HTTP/1.0":             strings.Replace(head("Transfer-Encoding: chunked"), "HTTP/1.1", "HTTP/1.0", 1) + "0\r\n\r\n",
		"two Content-Lengths":             head("Content-Length: 5", "Content-Length: 6") + "hello",
		"the same Content-Length twice":   head("Content-Length: 5", "content-length: 5") + "hello",
		"a list of Content-Lengths":       head("Content-Length: 5, 5") + "hello",
		"signed Content-Length":           head("Content-Length: +5") + "hello",
		"folded header":                   head("X-A: b", " c", "Content-Length: 0"),
		"header folded with a tab":        head("X-A: b", "\tc", "Content-Length: 0"),
		"folded framing":                  head("Transfer-Encoding:", " chunked") + "0\r\n\r\n",
		"header that begins with a space": "GET / HTTP/1.1\r\n Host: x\r\n\r\n",
		"space before the colon":          head("X-A : b"),
		"header without colon":            head("X-A"),
		"carriage return in a header":     head("X-A: b\rX-B: c"),
		"NUL in a header":                 head("X-A: b\x00"),
		"method that is none":             "GE(T / HTTP/1.1\r\nHost: x\r\n\r\n",
	}
}

// TestBadInputOnTheWire sends what no client library would.
func TestBadInputOnTheWire(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	for name, bytes := range refusedByUs() {
		t.Run(name, func(t *testing.T) {
			f.raw(bytes).requireProblem(t, http.StatusBadRequest, "invalid_argument")
		})
	}
	for name, bytes := range refusedByNetHTTP() {
		t.Run(name, func(t *testing.T) {
			answer := f.raw(bytes)
			require.Equal(t, http.StatusBadRequest, answer.status, answer.body)
			require.True(t, answer.closed)
		})
	}
	t.Run("header over 32 KiB", func(t *testing.T) {
		fits := ask("public/x", "X-A: "+strings.Repeat("a", 32<<10-80))
		require.Equal(t, http.StatusOK, f.raw(fits).status)
		over := ask("public/x", "X-A: "+strings.Repeat("a", 32<<10))
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, f.rawLong(over).status)
	})
	t.Run("header of 1 MiB", func(t *testing.T) {
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, f.rawLong("GET /livez HTTP/1.1\r\nHost: x\r\nX-A: "+
			strings.Repeat("a", 1<<20)).status)
	})
	t.Run("unsupported Transfer-Encoding", func(t *testing.T) {
		require.Equal(t, http.StatusNotImplemented, f.raw(head("Transfer-Encoding: gzip, chunked")).status)
	})
	t.Run("HTTP/2 without TLS", func(t *testing.T) {
		require.Equal(t, http.StatusHTTPVersionNotSupported, f.raw("GET / HTTP/2.0\r\nHost: x\r\n\r\n").status)
	})
	t.Run("absolute form", func(t *testing.T) {
		got := f.raw(get("http://example.com/api/v1/echo/public/x?q=1")).seen(t)
		require.Equal(t, "public", got.Route)
		require.Equal(t, "example.com", got.Header.Get("X-Forwarded-Host"))
	})
}

// TestFaultInALaterRequest: messages follows a connection over bodies of both kinds.
func TestFaultInALaterRequest(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	post := "POST /api/v1/echo/post HTTP/1.1\r\nHost: x\r\n"
	fine := post + "Content-Length: 20\r\n\r\nX-A: b\r\n not folded\n" +
		post + "Transfer-Encoding: chunked\r\n\r\n14;ext=1\r\nX-A: b\r\n not folded\n\r\n0\r\nX-Trailer: a\r\n\r\n"
	faulty := "GET /livez HTTP/1.1\r\nHost: x\r\nX-A: b\r\n folded\r\n\r\n"
	for name, bytes := range map[string]string{"at once": fine + fine + faulty, "alone": faulty} {
		t.Run(name, func(t *testing.T) {
			var statuses []int
			for _, answer := range f.pipeline(bytes) {
				statuses = append(statuses, answer.status)
			}
			want := []int{200, 200, 200, 200, 400}
			require.Equal(t, want[5-strings.Count(bytes, "HTTP/1.1"):], statuses)
		})
	}
}

// TestFaultsOverTLS: the same holds where net/http sees TLS.
func TestFaultsOverTLS(t *testing.T) {
	t.Parallel()
	f := start(t, func(d *Deps) { d.Server.TLS = newPair(t, "one").files })
	conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", f.addr)
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, http.StatusOK, f.rawOn(conn, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").status)
	require.Equal(t, http.StatusBadRequest, f.rawOn(conn, "GET /livez HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n").status)
}

// TestCanonicalPathsOnTheWire: every path is refused, or reaches the route, with the parameters, that a reading of the path
// on our side gives.
func TestCanonicalPathsOnTheWire(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	for _, entry := range canonicaltest.Corpus(t) {
		if strings.Contains(entry.Raw, "?") {
			continue // in a request target a query begins there
		}
		for _, prefix := range []string{"/api/v1/echo/public", "/api/v1/echo/files", "/api/v1/echo", "/api/v1", ""} {
			answer := f.raw("GET " + prefix + entry.Raw + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if answer.status >= 400 && answer.status < 500 {
				continue
			}
			if entry.Raw == "" && prefix == "/api/v1/echo" {
				require.Equal(t, "root", answer.seen(t).Route)
				continue
			}
			require.True(t, entry.Canonical, "%q got %d", prefix+entry.Raw, answer.status)
			got := answer.seen(t)
			requireDispatch(t, prefix+entry.Raw, got)
		}
	}
}

func requireDispatch(t *testing.T, raw string, got seen) {
	t.Helper()
	decoded, err := url.PathUnescape(strings.TrimPrefix(raw, "/api/v1/echo"))
	require.NoError(t, err)
	require.Equal(t, decoded, got.Path)
	switch {
	case strings.HasPrefix(decoded, "/public/"):
		require.Equal(t, "public", got.Route)
		require.Equal(t, decoded, "/public/"+got.Params[0].Value)
	case strings.HasPrefix(decoded, "/files/"):
		require.Equal(t, "files", got.Route)
		require.Equal(t, decoded, "/files/"+got.Params[0].Value)
	default:
		require.Fail(t, "no route should have taken this", "%q reached %s", raw, got.Route)
	}
}

// TestNoRedirects: a trailing slash is another path, and nobody is told so before they are authorized.
func TestNoRedirects(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	for _, path := range []string{
		"/", "/api", "/api/v1", "/api/v1/", "/api/v1/nosuch/x", "/api/v1/echo/", "/api/v1/echo/nosuch", "/api/v1/echo/secret/",
		"/api/v1/echo/public/x/", "/api/v1/echo/public/", "/api/v1/echo/files/", "/api/v1/echo/files", "/api/v1/echo/files/a/",
		"/api/v1/ECHO/public/x", "/api/v1/echo/Secret", "/livez/", "/api/v1/ech", "/api/v1/echoo/x", "/api/v1x/echo",
	} {
		p := f.get(path).requireProblem(t, http.StatusNotFound, "not_found")
		require.Contains(t, p.Detail, "/readyz")
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	for path, allow := range map[string]string{
		"/api/v1/echo/post": "POST", "/api/v1/echo/public/x": "GET, HEAD", "/api/v1/echo/feed": "GET", "/api/v1/echo": "GET, HEAD",
	} {
		for _, method := range []string{"DELETE", "OPTIONS", "TRACE", "BREW"} {
			answer := f.do(method, path, nil)
			answer.requireProblem(t, http.StatusMethodNotAllowed, "method_not_allowed")
			require.Equal(t, allow, answer.header.Get("Allow"))
		}
	}
	head := f.do(http.MethodHead, "/api/v1/echo/public/x", nil)
	require.Equal(t, http.StatusOK, head.status)
	require.Empty(t, head.body)
	require.Equal(t, http.StatusMethodNotAllowed, f.do(http.MethodHead, "/api/v1/echo/feed", nil).status)
	require.Equal(t, http.StatusUnauthorized, f.do(http.MethodHead, "/api/v1/echo/secret", nil).status)
}

// TestModulesThatAnswerGarbage never reach the client.
func TestModulesThatAnswerGarbage(t *testing.T) {
	t.Parallel()
	f := start(t, nil)
	require.Empty(t, f.gateway.SetModules([]*catalog.Module{parse(t, echoManifest)}, nil))
	f.registry.Put("echo", instancetest.LaunchHTTP1(t, instancetest.Launcher(t), "echo")) // where a handler can write what it likes
	for _, kind := range []string{"crlf", "low", "high", "noise", "silence", "folded", "lengths"} {
		answer := f.do(http.MethodGet, "/api/v1/echo/garbage/"+kind, nil)
		answer.requireProblem(t, http.StatusBadGateway, "bad_gateway")
		require.Empty(t, answer.header["X-Evil"])
	}
	hop := f.get("/api/v1/echo/garbage/hop")
	require.Equal(t, "ok", hop.body)
	require.Equal(t, "yes", hop.header.Get("X-Fine"))
	require.Empty(t, hop.header["Keep-Alive"])
	require.Empty(t, hop.header["Proxy-Authenticate"])
	response, err := f.client.Get("http://" + f.addr + "/api/v1/echo/garbage/short")
	if err == nil {
		_, err = io.ReadAll(response.Body)
		require.NoError(t, response.Body.Close())
	}
	require.Error(t, err, "a part was taken for the whole")
}

func TestSpoofedHeadersNeverReachAModule(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	spoofed := []string{
		"Platformd-Principal", "platformd-principal", "PLATFORMD-PRINCIPAL", "Platformd_Principal", "platformd_route",
		"Platformd-Secret", "Platformd-Params", "X-Forwarded-For", "x-forwarded-for", "X_Forwarded_For", "X-Forwarded_For",
		"X-Forwarded-Port", "X_forwarded_Prefix", "Forwarded", "X-Real-IP", "X_Real_Ip", "X_Request_Id", "Proxy-Authorization",
	}
	var lines strings.Builder
	for _, name := range spoofed {
		fmt.Fprintf(&lines, "%s: evil\r\n", name)
	}
	for _, extra := range []string{"", "Connection: close, X-Request-Id, X-Forwarded-For, Traceparent\r\n"} {
		got := f.raw("GET /api/v1/echo/public/x HTTP/1.1\r\nHost: x\r\n" + lines.String() + extra + "\r\n").seen(t)
		for name, values := range got.Header {
			require.NotContains(t, strings.Join(values, ","), "evil", name)
		}
		require.Equal(t, []string{"127.0.0.1"}, got.Header["X-Forwarded-For"])
		require.Len(t, got.Header["X-Request-Id"], 1)
		require.Len(t, got.Header["Traceparent"], 1)
		require.Equal(t, "anonymous", got.Principal.Kind)
	}
	got := f.see("/api/v1/echo/public/x", "Authorization: Bearer "+goodToken)
	require.Empty(t, got.Header["Authorization"], "a module must not hold its callers' tokens")
}

// rawLong is raw for a server that stops reading before everything is sent.
func (f *fixture) rawLong(bytes string) answered {
	f.t.Helper()
	conn, err := new(net.Dialer).DialContext(f.t.Context(), "tcp", f.addr)
	require.NoError(f.t, err)
	defer conn.Close()
	sent := make(chan struct{})
	go func() { defer close(sent); _, _ = io.WriteString(conn, bytes) }()
	answer := f.rawOn(conn, "")
	_ = conn.Close()
	<-sent
	return answer
}

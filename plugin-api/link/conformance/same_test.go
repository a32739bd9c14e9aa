package conformance

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

// view is what a client saw of an answer.
type view struct {
	Status  int
	Header  http.Header
	Body    string
	Trailer http.Header
}

// broken is the view of an answer that the client cannot take for a good one: the core's error, or a connection cut.
func broken() view { return view{Status: -1} }

// viewOf sends a request that edit prepares, and returns what came of it. What may differ from one transport to the next is
// left out: the date, and whether the body's length was known beforehand.
func viewOf(rig *linktest.Rig, method string, body io.Reader, edit ...func(*http.Request)) view {
	rig.T.Helper()
	res, err := rig.Front.Client().Do(rig.Request(method, "/", body, edit...))
	if err != nil {
		return broken()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode == http.StatusBadGateway {
		return broken()
	}
	if res.ContentLength >= 0 && method != http.MethodHead {
		require.EqualValues(rig.T, len(text), res.ContentLength)
	}
	for _, name := range []string{"Date", "Content-Length"} {
		res.Header.Del(name)
	}
	return view{Status: res.StatusCode, Header: res.Header, Body: string(text), Trailer: res.Trailer}
}

// A handler has the same effect whatever carries its answer: that of http1, which is net/http's server.
func TestClientsSeeTheSame(t *testing.T) {
	t.Parallel()
	for name, handler := range handlers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead} {
				var views []view
				for _, on := range transports() {
					rig := on.module(t, handler)
					views = append(views, viewOf(rig, method, nil))
					require.Equal(t, http.StatusOK, rig.Start(http.MethodGet, "/fine", nil).StatusCode, "the module lives on")
				}
				if method == http.MethodHead && (views[0].Status < 0 || views[1].Status < 0) {
					continue // what goes wrong once the head is out concerns nobody
				}
				if want, ok := kinder()[name]; ok {
					if method == http.MethodHead {
						want = ""
					}
					require.Equal(t, want, views[1].Body, method)
					continue
				}
				require.Equal(t, views[0], views[1], method)
			}
		})
	}
}

// kinder holds the handlers whose answer http1 cuts off, or bereaves of a trailer, because net/http writes what the core
// refuses. The link may make sense of them; the value is the body that is right then.
func kinder() map[string]string {
	return map[string]string{
		"signed": "hello", "declared twice": "hello", "a transfer encoding": "x", "an identity encoding": "x",
		"late, of a small answer": "x",
	}
}

// handlers are what a module's author may write, on purpose or not.
func handlers() map[string]http.HandlerFunc {
	all := map[string]http.HandlerFunc{}
	for _, more := range []map[string]http.HandlerFunc{
		bodyHandlers(), lengthHandlers(), headerHandlers(), statusHandlers(), trailerHandlers(), failingHandlers(),
	} {
		for name, handler := range more {
			all[name] = func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/fine" {
					handler(w, r)
				}
			}
		}
	}
	return all
}

// writes makes a handler that writes pieces; "" flushes.
func writes(pieces ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, piece := range pieces {
			if piece == "" {
				_ = http.NewResponseController(w).Flush()
			} else if _, err := io.WriteString(w, piece); err != nil {
				return
			}
		}
	}
}

// with makes a handler that sets headers (name, value, …) and then writes a body.
func with(body string, fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for pair := range slices.Chunk(fields, 2) {
			w.Header()[pair[0]] = append(w.Header()[pair[0]], pair[1])
		}
		writes(body)(w, r)
	}
}

func bodyHandlers() map[string]http.HandlerFunc {
	large := strings.Repeat("platform", 20<<10)
	return map[string]http.HandlerFunc{
		"nothing":                  func(http.ResponseWriter, *http.Request) {},
		"only a flush":             writes(""),
		"text":                     writes("hello"),
		"markup":                   writes("<html><body>"),
		"markup in pieces":         writes("<ht", "ml><body>"),
		"markup in unequal pieces": writes("<ht", "ml><body>"+large),
		"markup behind a flush":    writes("", "<html>"),
		"markup in flushed pieces": writes("<ht", "", "ml>"),
		"markup, and much of it":   writes("<html>" + large),
		"bytes":                    writes("\x89PNG\r\n\x1a\n"),
		"an empty write":           func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(nil) },
		"compressed":               with("hello", "Content-Encoding", "gzip"),
		"compressed, and much":     with(large, "Content-Encoding", "br"),
		"of no type": func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = nil
			writes("x")(w, r)
		},
		"of an empty type":          with("x", "Content-Type", ""),
		"of its own type":           with("<html>", "Content-Type", "text/x"),
		"large":                     writes(large),
		"large after a flush":       writes("", large),
		"large in pieces":           writes(strings.Split(strings.TrimSuffix(strings.Repeat("piece of text,", 9000), ","), ",")...),
		"just what fits":            writes(large[:32<<10]),
		"just what fits, in two":    writes(large[:32<<10-1], "x"),
		"one more than fits":        writes(large[:32<<10+1]),
		"one more than fits, later": writes(large[:32<<10], "x"),
		"flushed, then full":        writes("x", "", large[:32<<10]),
		"flushed, then more":        writes("x", "", large[:32<<10], "y"),
		"large, flushed, large":     writes(large, "", large, "", "end"),
		"copied": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(w, strings.NewReader(large))
		},
		"the body's echo": func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) },
	}
}

func lengthHandlers() map[string]http.HandlerFunc {
	large := strings.Repeat("x", 100<<10)
	declare := func(length string, pieces ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", length)
			writes(pieces...)(w, r)
		}
	}
	return map[string]http.HandlerFunc{
		"right":                   declare("5", "hello"),
		"right, large":            declare(fmt.Sprint(len(large)), large),
		"right, flushed":          declare("5", "he", "", "llo"),
		"too long":                declare("10", "hello"),
		"too long, nothing":       declare("10"),
		"too long, flushed":       declare("10", "hello", ""),
		"too long, large":         declare("1000000", large),
		"too long, flushed large": declare("1000000", large, ""),
		"too short":               declare("5", "hello, world"),
		"too short, in pieces":    declare("5", "hello", ", world"),
		"too short, large":        declare("5", "hello", large),
		"none at all":             declare("0"),
		"none at all, and yet":    declare("0", "x"),
		"no number":               declare("abc", "hello"),
		"negative":                declare("-1", "hello"),
		"signed":                  declare("+5", "hello"),
		"empty":                   declare("", "hello"),
		"spaced":                  declare(" 5 ", "hello"),
		"more than 63 bits":       declare("9223372036854775808", "hello"),
		"declared after the head": func(w http.ResponseWriter, _ *http.Request) {
			writes("", "x")(w, nil)
			w.Header().Set("Content-Length", "5")
		},
		"declared twice":              with("hello", "Content-Length", "5", "Content-Length", "6"),
		"with a transfer encoding":    with("hello", "Content-Length", "5", "Transfer-Encoding", "chunked"),
		"with 204":                    statusWith(http.StatusNoContent, "Content-Length", "5"),
		"with 304":                    statusWith(http.StatusNotModified, "Content-Length", "5", "Content-Type", "a/b", "Etag", `"1"`),
		"of an answer without a body": statusWith(http.StatusOK, "Content-Length", "0"),
	}
}

func statusWith(status int, fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		with("", fields...)(discardFlush{w}, r)
		w.WriteHeader(status)
	}
}

// discardFlush hides Flush from writes.
type discardFlush struct{ http.ResponseWriter }

func headerHandlers() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"breaks in a value":       with("x", "X-Bad", "a\r\nSet-Cookie: b", "X-Good", "1"),
		"a break at the end":      with("x", "X-Bad", "a\r\n", "X-Good", "1"),
		"a bare LF":               with("x", "X-Bad", "a\nb"),
		"a bare CR":               with("x", "X-Bad", "a\rb"),
		"NUL in a value":          with("x", "X-Bad", "a\x00b"),
		"DEL in a value":          with("x", "X-Bad", "a\x7fb"),
		"bytes in a value":        with("x", "X-Odd", "\xff\xfe ü"),
		"spaces around a value":   with("x", "X-Odd", " \t a b \t "),
		"an empty value":          with("x", "X-Odd", ""),
		"a space in a name":       with("x", "X Bad", "a", "X-Good", "1"),
		"a break in a name":       with("x", "X: a\r\nX-Bad", "a", "X-Good", "1"),
		"no name":                 with("x", "", "a", "X-Good", "1"),
		"a name beyond ASCII":     with("x", "Ü", "a", "X-Good", "1"),
		"a name in lower case":    with("x", "x-low", "a", "X-Good", "1"),
		"a reserved name":         with("x", "Platformd-Route", "a", "platformd_secret", "b", "X-Good", "1"),
		"hop-by-hop headers":      with("x", "Keep-Alive", "a", "Proxy-Authenticate", "b", "Te", "c", "Upgrade", "d", "X-Good", "1"),
		"nominated headers":       with("x", "Connection", "X-Private, close", "X-Private", "a", "X-Good", "1"),
		"a transfer encoding":     with("x", "Transfer-Encoding", "gzip"),
		"an identity encoding":    with("x", "Transfer-Encoding", "identity"),
		"cookies":                 with("x", "Set-Cookie", "a=1", "Set-Cookie", "b=2", "Set-Cookie", "a=1"),
		"lists":                   with("x", "Vary", "A", "Vary", "B", "Link", "<a>", "Link", "<b>"),
		"a date of its own":       with("x", "Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
		"a head of 60 KiB":        with("x", "X-Large", strings.Repeat("a", 60<<10)),
		"a head of 70 KiB":        with("x", "X-Large", strings.Repeat("a", 70<<10)),
		"a head of 300 KiB":       with("x", "X-Large", strings.Repeat("a", 300<<10)),
		"a head of 70 KiB, flush": with("", "X-Large", strings.Repeat("a", 70<<10)),
		"a head of 20 MiB":        with("x", "X-Large", strings.Repeat("a", 20<<20)),
		"ten thousand headers":    manyHeaders,
		"changed behind the head": func(w http.ResponseWriter, r *http.Request) {
			writes("x", "")(w, r)
			w.Header().Set("X-Late", "1")
		},
		"changed after WriteHeader": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Kept", "1")
			w.WriteHeader(http.StatusAccepted)
			w.Header().Set("X-Kept", "2")
			w.Header().Set("X-Late", "1")
		},
	}
}

func manyHeaders(w http.ResponseWriter, _ *http.Request) {
	for i := range 10_000 {
		w.Header().Set(fmt.Sprintf("X-%d", i), "some value")
	}
}

func statusHandlers() map[string]http.HandlerFunc {
	all := map[string]http.HandlerFunc{
		"a second status":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202); w.WriteHeader(500) },
		"a status behind the body":  func(w http.ResponseWriter, _ *http.Request) { writes("x")(w, nil); w.WriteHeader(500) },
		"a body that 204 has not":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204); writes("x")(w, nil) },
		"a body that 304 has not":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304); writes("x")(w, nil) },
		"204, flushed":              func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204); writes("")(w, nil) },
		"hints, and then an answer": hints(3, 10),
		"hints without an end":      hints(5000, 100),
		"one huge hint":             hints(1, 300<<10),
		"hints behind the head": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(200)
			w.WriteHeader(103)
			writes("x")(w, nil)
		},
	}
	for _, status := range []int{
		-1, 0, 1, 99, 100, 101, 102, 104, 199, 200, 201, 226, 299, 300, 301, 302, 400, 404, 418, 421, 431, 500, 503, 511, 599,
		600, 799, 999, 1000, 1 << 20,
	} {
		all[fmt.Sprint("status ", status)] = func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			writes("x")(w, nil)
		}
	}
	return all
}

// hints sends so many Early Hints of that size before its answer.
func hints(n, size int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", strings.Repeat("a", size))
		for range n {
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "x")
	}
}

func trailerHandlers() map[string]http.HandlerFunc {
	// announced makes a handler that announces trailers, writes, and sets headers.
	announced := func(names string, body http.HandlerFunc, fields ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if names != "" {
				w.Header().Set("Trailer", names)
			}
			body(w, r)
			with("", fields...)(discardFlush{w}, r)
		}
	}
	large := strings.Repeat("platform", 20<<10)
	return map[string]http.HandlerFunc{
		"announced":                announced("X-A, X-B", writes("x"), "X-A", "1", "X-B", "2"),
		"announced, large":         announced("X-A", writes(large), "X-A", "1"),
		"announced, no body":       announced("X-A", func(http.ResponseWriter, *http.Request) {}, "X-A", "1"),
		"announced, never sent":    announced("X-A", writes("x")),
		"announced, in lower case": announced("x-a", writes("x"), "X-A", "1"),
		"announced with a length":  announced("X-A", with("hello", "Content-Length", "5"), "X-A", "1"),
		"announced before 204":     announced("X-A", statusWith(http.StatusNoContent), "X-A", "1"),
		"late":                     announced("", writes("x", ""), "Trailer:X-A", "1"),
		"late, large":              announced("", writes(large), "Trailer:X-A", "1"),
		"late, of a small answer":  announced("", writes("x"), "Trailer:X-A", "1"),
		"late, with a length":      announced("", with("hello", "Content-Length", "5"), "Trailer:X-A", "1"),
		"announced too late":       announced("", writes("x", ""), "Trailer", "X-A", "X-A", "1"),
		"both":                     announced("X-A", writes("x"), "X-A", "1", "Trailer:X-B", "2"),
		"two values":               announced("X-A", writes("x"), "X-A", "1", "X-A", "2"),
		"forbidden":                announced("Content-Length, X-A, Set-Cookie", writes("x"), "X-A", "1", "Set-Cookie", "a=b"),
		"forbidden, late": announced("", writes("x", ""), "Trailer:Content-Type", "a/b",
			"Trailer:Set-Cookie", "a", "Trailer:X-A", "1"),
		"reserved":                  announced("Platformd-Route", writes("x"), "Platformd-Route", "1", "Trailer:platformd_x", "2"),
		"breaks in a value":         announced("X-A", writes("x"), "X-A", "1\r\nSet-Cookie: b"),
		"control bytes in a value":  announced("X-A", writes("x"), "X-A", "1\x002"),
		"a bad name":                announced("X A, X-B", writes("x"), "X A", "1", "X-B", "2"),
		"70 KiB of them":            announced("X-A", writes("x"), "X-A", strings.Repeat("a", 70<<10)),
		"300 KiB of them":           announced("X-A", writes("x"), "X-A", strings.Repeat("a", 300<<10)),
		"300 KiB of them, large":    announced("X-A", writes(large), "X-A", strings.Repeat("a", 300<<10)),
		"set before, changed after": announced("X-A", with("x", "X-A", "before"), "X-A", "after"),
	}
}

func failingHandlers() map[string]http.HandlerFunc {
	large := strings.Repeat("platform", 20<<10)
	all := map[string]http.HandlerFunc{}
	for when, before := range map[string]http.HandlerFunc{
		"at once":              func(http.ResponseWriter, *http.Request) {},
		"with a little":        writes("x"),
		"behind the head":      writes(""),
		"in the body":          writes("x", "", "y"),
		"in a large body":      writes(large),
		"in a flushed one":     writes(large, ""),
		"in a small known one": with("hel", "Content-Length", "5"),
		"behind a known one":   with("hello", "Content-Length", "5"),
	} {
		for how, end := range map[string]func(){
			"panics":         func() { panic("at the disco") },
			"panics of nil":  func() { panicWith(nil) },
			"aborts":         func() { panic(http.ErrAbortHandler) },
			"aborts wrapped": func() { panic(fmt.Errorf("wrapped: %w", http.ErrAbortHandler)) },
			"exits":          runtime.Goexit,
		} {
			all[how+" "+when] = func(w http.ResponseWriter, r *http.Request) {
				before(w, r)
				end()
			}
		}
	}
	return all
}

// seen is what a handler saw of a request.
func seen(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	again, errAgain := r.Body.Read(make([]byte, 1))
	_, timed := r.Context().Deadline()
	call := *link.FromContext(r.Context())
	_, _ = fmt.Fprintf(w, "%q %q %q host %q uri %q\nurl %#v %q\nheader %v\nlength %d %v %v trailer %v\nbody %d %v %d %v closed %v\n",
		r.Method, r.Proto, r.RemoteAddr, r.Host, r.RequestURI, *r.URL, r.URL.EscapedPath(), r.Header,
		r.ContentLength, r.TransferEncoding, r.Close, r.Trailer, len(body), err, again, errAgain, r.Body.Close())
	_, _ = fmt.Fprintf(w, "call %+v timed %v\nvalues %q %q\nform %v %v\n", call, timed, r.PathValue("a"), r.PathValue("none"),
		r.FormValue("q"), r.Form)
}

// What a handler sees of a request is the same whatever carried it.
func TestHandlersSeeTheSame(t *testing.T) {
	t.Parallel()
	rigs := make([]*linktest.Rig, 0, 2)
	call := link.Call{}
	for _, on := range transports() {
		rig := on.module(t, seen)
		rig.Call = func(*http.Request) *link.Call { c := call; return &c }
		rigs = append(rigs, rig)
	}
	same := func(what, method, body, query string, edit func(*http.Request)) {
		var views []view
		for _, rig := range rigs {
			views = append(views, viewOf(rig, method, strings.NewReader(body), func(r *http.Request) {
				r.URL.RawQuery = query
				r.Host = "example.org:81"
				edit(r)
			}))
		}
		require.Equal(t, views[0], views[1], "%s: %s %v", what, method, call)
	}
	none := func(*http.Request) {}
	plain := link.Call{Route: "r", Path: "/", Principal: link.Anonymous()}
	for _, path := range oddPaths() {
		call = plain
		call.Path = "/" + path
		call.Params = []link.Param{{Name: "a", Value: path}, {Name: "b"}}
		same("path", http.MethodGet, "", "", none)
		same("path and query", http.MethodGet, "", "q=1", none)
	}
	call = plain
	for _, query := range []string{"", "q", "q=", "q=a+b%20c&q=2", "q=%zz", "q=;x", "&&", "?", "q=a/b?c", "q=%00", "q='\"<>^`{|}"} {
		same("query "+query, http.MethodGet, "", query, none)
	}
	call.Principal = link.Principal{Kind: link.KindToken, ID: "\x00\r\n\xff", Name: "ü \u2028"}
	call.Principal.ID = "\x00\r\n" // JSON cannot hold the byte \xff
	call.Timeout = 90_000_000_000
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "x"} {
		same("empty", method, "", "q=1", none)
		same("small", method, "q=2", "", func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") })
	}
	for name, edit := range oddHeaders() {
		same(name, http.MethodGet, "", "", edit)
		same(name, http.MethodPost, "hello", "", edit)
	}
}

func oddPaths() []string {
	paths := []string{"", "a", "a//b", "/a", "a/", "a/../b", "%41", "a%2fb", "ü/日本", "\xff\xfe", strings.Repeat("long/", 1000)}
	for b := range 256 {
		paths = append(paths, "a"+string([]byte{byte(b)})+"b")
	}
	valid := paths[:0]
	for _, path := range paths {
		if strings.ToValidUTF8(path, "") == path { // params travel as JSON over HTTP/1.1
			valid = append(valid, path)
		}
	}
	return valid
}

func oddHeaders() map[string]func(*http.Request) {
	all := map[string]func(*http.Request){}
	for name, fields := range map[string]http.Header{
		"none":        {},
		"many values": {"X-A": {"1", "2", "", "2"}, "X-B": {""}},
		"odd values":  {"X-A": {" a ", "\xff", "a\tb", `"`, "a,b;c"}},
		"odd names":   {"x_y.z": {"1"}, "X": {"2"}, "X!#$%&'*+-.^_`|~9": {"3"}},
		"cookies":     {"Cookie": {"a=1; b=2", "c=3"}},
		"te":          {"Te": {"trailers, gzip"}},
		"expect":      {"Expect": {"100-continue"}},
		"forwarded":   {"X-Forwarded-For": {"1.2.3.4"}, "Connection": {"X-Forwarded-For"}},
		"nominated":   {"X-Hop": {"1"}, "Connection": {"x-hop, Keep-Alive"}},
		"credentials": {"Authorization": {"Bearer x"}, "Proxy-Authorization": {"y"}},
		"reserved":    {"Platformd-Route": {"x"}, "Platformd_secret": {"y"}},
		"encodings":   {"Accept-Encoding": {"br"}, "Content-Encoding": {"gzip"}},
		"range":       {"Range": {"bytes=0-1"}, "If-None-Match": {`"x"`}},
		"large":       {"X-A": {strings.Repeat("a", 60<<10)}},
	} {
		all[name] = func(r *http.Request) {
			for name, values := range fields {
				r.Header[name] = values
			}
		}
	}
	return all
}

func panicWith(cause any) { panic(cause) }

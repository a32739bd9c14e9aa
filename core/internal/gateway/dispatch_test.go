package gateway

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/link"
)

// patterns are the routes of the module ids, and what the module mount looks for by itself.
func patterns() map[string]string {
	return map[string]string{
		"item": "/items/{id}", "latest": "/items/latest", "part": "/items/{id}/{part}", "all": "/items/{id}/parts/all",
		"files": "/files/{path...}", "public": "/public/{name}", "admin": "/admin", "keys": "/admin/{user}/keys",
	}
}

const idsManifest = `
apiVersion: platformd/v1
name: ids
version: 1.0.0
permissions: [{ name: ids.all.do, description: Do all }]
routes:
  - { id: root, method: GET, path: /, access: public }
`

const mountManifest = `
apiVersion: platformd/v1
name: mount
version: 1.0.0
routes:
  - { id: everything, method: GET, path: "/{path...}", access: public }
`

// idsManifestText is idsManifest with the patterns; those of admins need a permission.
func idsManifestText() string {
	text := idsManifest
	for _, id := range slices.Sorted(maps.Keys(patterns())) {
		access := "access: public"
		if guarded(id) {
			access = "permission: ids.all.do"
		}
		text += `  - { id: ` + id + `, method: GET, path: "` + patterns()[id] + `", ` + access + " }\n"
	}
	return text
}

func guarded(id string) bool { return id == "admin" || id == "keys" }

// arrival is where a request came to, in a module.
type arrival struct {
	Route  string
	Params map[string]string
	Path   string
}

// tell answers as the handler of one route, whatever the core says that it called.
func tell(id, pattern string) pluginapi.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		got := arrival{Route: id, Params: map[string]string{}, Path: r.URL.Path}
		for segment := range strings.SplitSeq(pattern, "/") {
			if name, ok := strings.CutPrefix(segment, "{"); ok {
				name = strings.TrimSuffix(strings.TrimSuffix(name, "}"), "...")
				got.Params[name] = r.PathValue(name)
			}
		}
		return pluginapi.WriteJSON(w, http.StatusOK, got)
	}
}

func idsModule() pluginapi.Module {
	module := pluginapi.Module{Routes: map[string]pluginapi.Handler{"root": tell("root", "/")}}
	for id, pattern := range patterns() {
		module.Routes[id] = tell(id, pattern)
	}
	return module
}

// mountModule has a router of its own, which would redirect whoever sends it a path that is not canonical.
func mountModule() pluginapi.Module {
	mux := http.NewServeMux()
	for id, pattern := range patterns() {
		handler := tell(id, pattern)
		mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) { _ = handler(w, r) })
	}
	mux.Handle("/files", http.NotFoundHandler()) // for which it would redirect to /files/
	return pluginapi.Module{Mount: mux}
}

// targets returns the corpus, for one module.
func targets(t *testing.T, module string) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/targets.txt")
	require.NoError(t, err)
	var all []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		target, err := strconv.Unquote(line)
		require.NoError(t, err, line)
		all = append(all, strings.ReplaceAll(target, "MODULE", module))
	}
	slices.Sort(all)
	require.GreaterOrEqual(t, len(slices.Compact(slices.Clone(all))), 300)
	return all
}

// TestDecisionIsDispatch: every target of the corpus is refused, or arrives where a plain reading of it leads.
func TestDecisionIsDispatch(t *testing.T) {
	t.Parallel()
	f := start(t, func(d *Deps) {
		d.Authenticate = func(context.Context, string) (auth.Identity, error) {
			return auth.Identity{Principal: link.Principal{Kind: link.KindToken, ID: "1"}, Permissions: []string{"ids.*"}}, nil
		}
	})
	require.Empty(t, f.gateway.SetModules([]*catalog.Module{parse(t, idsManifestText()), parse(t, mountManifest)}, nil))
	launcher := instancetest.Launcher(t)
	for _, module := range []string{"ids", "mount"} {
		f.registry.Put(module, instancetest.Launch(t, launcher, module))
	}
	for name, c := range map[string]struct {
		module  string
		headers string
		reached func(id string) bool
	}{
		"routes by id":               {"ids", "", func(id string) bool { return !guarded(id) }},
		"routes by id, with a token": {"ids", "Authorization: Bearer x\r\n", func(string) bool { return true }},
		"a router in the module":     {"mount", "", func(id string) bool { return id != "root" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrived := map[string]int{}
			for _, target := range targets(t, c.module) {
				if route, ok := f.send(t, c.module, target, c.headers); ok {
					arrived[route]++
				}
			}
			t.Logf("arrived: %v", arrived)
			for id := range patterns() {
				require.Equal(t, c.reached(id), arrived[id] > 0, "%s, or the corpus misses it", id)
			}
		})
	}
}

// send sends one target. It returns the route at which it arrived, if it was not refused.
func (f *fixture) send(t *testing.T, module, target, headers string) (route string, ok bool) {
	t.Helper()
	mine := *f
	mine.t = t
	answer := mine.rawLong("GET " + target + " HTTP/1.1\r\nHost: x\r\n" + headers + "Connection: close\r\n\r\n")
	if 400 <= answer.status && answer.status < 500 {
		return "", false
	}
	require.Equal(t, http.StatusOK, answer.status, "%q: %s", target, answer.body)
	var got arrival
	require.NoError(t, json.Unmarshal([]byte(answer.body), &got), "%q", target)
	want, ok := read(module, target)
	require.True(t, ok, "%q arrived at %v", target, got)
	require.Equal(t, want, got, "%q", target)
	return got.Route, true
}

// read is a plain reading of a request target, which has nothing from the gateway: cut out the path, decode it once, take
// it apart at its slashes, and look for the pattern that says most about it.
func read(module, target string) (arrival, bool) {
	target, _, _ = strings.Cut(target, "?")
	if _, rest, absolute := strings.Cut(target, "://"); absolute && target[0] != '/' {
		_, path, _ := strings.Cut(rest, "/")
		target = "/" + path
	}
	path, ok := decodeOnce(target)
	below, found := strings.CutPrefix(path, "/api/v1/"+module)
	switch {
	case !ok || !found:
		return arrival{}, false
	case below == "":
		return arrival{"root", map[string]string{}, "/"}, true
	}
	var best arrival
	var most string
	for id, pattern := range patterns() {
		if params, rank, ok := fit(strings.Split(pattern, "/"), strings.Split(below, "/")); ok && rank > most {
			best, most = arrival{id, params, below}, rank
		}
	}
	return best, most != ""
}

// fit takes a path apart as the pattern says. The rank has a letter for each segment of the pattern, a later one where the
// pattern is more exact.
func fit(pattern, path []string) (params map[string]string, rank string, ok bool) {
	params = map[string]string{}
	for i, segment := range pattern {
		name, parameter := strings.CutPrefix(strings.TrimSuffix(segment, "}"), "{")
		wildcard := strings.TrimSuffix(name, "...")
		switch {
		case i >= len(path):
			return nil, "", false
		case wildcard != name:
			params[wildcard] = strings.Join(path[i:], "/")
			return params, rank + "a", params[wildcard] != ""
		case parameter:
			params[name] = path[i]
			rank += "b"
		case segment == path[i]:
			rank += "c"
		default:
			return nil, "", false
		}
	}
	return params, rank, len(path) == len(pattern)
}

func decodeOnce(text string) (string, bool) {
	var out []byte
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			out = append(out, text[i])
			continue
		}
		if i+2 >= len(text) {
			return "", false
		}
		pair, err := hex.DecodeString(text[i+1 : i+3])
		if err != nil {
			return "", false
		}
		out = append(out, pair...)
		i += 2
	}
	return string(out), true
}

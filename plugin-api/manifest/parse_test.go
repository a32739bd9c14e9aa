package manifest_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/manifest"
)

func parse(t *testing.T, text string) *manifest.Manifest {
	t.Helper()
	m, err := manifest.Parse("module.yaml", []byte(text))
	require.NoError(t, err)
	return m
}

func errorsOf(t *testing.T, err error) manifest.Errors {
	t.Helper()
	var errs manifest.Errors
	require.ErrorAs(t, err, &errs)
	require.NotEmpty(t, errs)
	return errs
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range badCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, err := manifest.Parse("blog/module.yaml", []byte(c.text))
			require.Nil(t, m)
			errs := errorsOf(t, err)
			require.Equal(t, c.code, errs[0].Code, "%v", err)
			require.Equal(t, c.line, errs[0].Line, "%v", err)
			for _, one := range errs {
				require.Equal(t, "blog/module.yaml", one.File)
				require.NotEmpty(t, one.Message)
				require.NotEmpty(t, one.Fix)
				require.NotContains(t, one.Message+one.Fix, "\n")
			}
		})
	}
}

// inspect must reach the whole tree, though decode ignores what it does not know.
func TestDuplicateBelowAKeyOfText(t *testing.T) {
	t.Parallel()
	_, err := manifest.Parse("module.yaml", []byte(head+"runtime:\n  upgrade:\n    a: {b: 1}\n    a: {b: 1}\n"))
	errs := errorsOf(t, err)
	require.Len(t, errs, 2)
	require.Equal(t, "duplicate_key", errs[1].Code)
	require.Equal(t, 7, errs[1].Line)
}

func TestAliasesAreNamedOncePerLine(t *testing.T) {
	t.Parallel()
	_, err := manifest.Parse("module.yaml", []byte(head+"runtime:\n  env: [&a TZ, *a, *a]\n  required: *a\n"))
	errs := errorsOf(t, err)
	require.Len(t, errs, 2)
	require.Equal(t, []int{5, 6}, []int{errs[0].Line, errs[1].Line})
}

func TestBooleans(t *testing.T) {
	t.Parallel()
	m := parse(t, head+"grants: {database: True}\nruntime: {required: false}\n")
	require.True(t, m.Grants.Database)
	require.False(t, m.Runtime.Required)
}

// A case that trips over several rules would prove only one of them; the few that must do so are named here.
func TestEachCaseBreaksOneRule(t *testing.T) {
	t.Parallel()
	several := map[string]bool{"alias": true, "alias bomb": true, "text": true, "list": true, "publishes: a word": true,
		"duplicate key in what is still to come": true}
	for _, c := range badCases() {
		_, err := manifest.Parse("module.yaml", []byte(c.text))
		if !several[c.name] {
			require.Len(t, errorsOf(t, err), 1, "%s: %v", c.name, err)
		}
	}
}

func TestParseSample(t *testing.T) {
	t.Parallel()
	m, err := manifest.Load(filepath.Join("testdata", "blog.yaml"))
	require.NoError(t, err)
	require.Equal(t, "blog", m.Name)
	require.Equal(t, manifest.Requires{Platform: ">=0.1", Modules: map[string]string{"billing": "^0.2"},
		Optional: map[string]string{"notify": ">=0.1"}}, m.Requires)
	require.Equal(t, manifest.Permission{Name: "blog.post.create", Description: "Write posts", Roles: []string{"author"}},
		m.Permissions[1])
	require.Equal(t, manifest.Route{ID: "createPost", Method: "POST", Path: "/posts", Permission: "blog.post.create",
		Stream: manifest.StreamNone, MaxBody: 16 << 10, Timeout: manifest.Duration(5 * time.Second),
		IdempotencyKey: true}, m.Routes[2])
	require.Equal(t, manifest.Grants{Database: true}, m.Grants)
	require.Equal(t, manifest.Events{
		Publishes: []manifest.Publication{
			{Type: "blog.post.created", Version: 1, Schema: "events/post_created.json"}, {Type: "blog.post.created", Version: 2},
		},
		Subscribes: []manifest.Subscription{
			{Type: "billing.plan.changed", Version: 3, Concurrency: 4, Order: manifest.OrderKey,
				Timeout: manifest.Duration(5 * time.Second), Retry: manifest.Retry{Max: 8}},
			{Type: "billing.*", Version: 1, Concurrency: 1, Order: manifest.OrderNone,
				Timeout: manifest.Duration(30 * time.Second), Retry: manifest.Retry{Max: 5}},
		},
	}, m.Events)
	require.True(t, m.Events.Any())
	require.Equal(t, manifest.MigrationsGo, m.Migrations)
	require.Equal(t, "config.schema.json", m.Config.Schema)
	require.Equal(t, manifest.Runtime{Executable: "bin/blog-server", StartTimeout: manifest.Duration(20 * time.Second),
		StopTimeout: manifest.Duration(500 * time.Millisecond), Required: true, Instances: 1, Concurrency: 100,
		Upgrade: manifest.UpgradeOverlap,
		Env:     []string{"TZ", "LANG"},
		Memory:  64 << 20, CPU: 0.5, PIDs: 100, OpenFiles: 500,
		Restart: &manifest.Restart{Max: 3, Window: manifest.Duration(time.Minute)}}, m.Runtime)
}

func TestParseFillsDefaults(t *testing.T) {
	t.Parallel()
	m, err := manifest.Load(filepath.Join("testdata", "hello.yaml"))
	require.NoError(t, err)
	require.Equal(t, manifest.Route{ID: "greet", Method: "GET", Path: "/greetings/{name}", Access: manifest.AccessPublic,
		Stream: manifest.StreamNone, MaxBody: 1 << 20, Timeout: manifest.Duration(30 * time.Second)}, m.Routes[0])
	require.Equal(t, manifest.Runtime{Executable: "bin/hello", Instances: 1, StartTimeout: manifest.Duration(10 * time.Second),
		StopTimeout: manifest.Duration(10 * time.Second), Upgrade: manifest.UpgradeOverlap, Concurrency: 256,
		Memory: 256 << 20, CPU: 1, PIDs: 256, OpenFiles: 1024}, m.Runtime)
	require.Nil(t, m.Config)
	require.False(t, m.Events.Any())

	for _, stream := range []string{"sse", "websocket", "body"} {
		m = parse(t, route("id: a, method: GET, path: /a, access: public, stream: "+stream))
		require.Zero(t, m.Routes[0].Timeout, stream)
		require.Equal(t, manifest.Size(1<<20), m.Routes[0].MaxBody, stream)
	}
}

func TestRoutesThatShareNothing(t *testing.T) {
	t.Parallel()
	parse(t, routes("/", "/a", "/a/{id}", "/a/new", "/a/{key}/b", "/f", "/f/{rest...}", "/ff", "/g/{x}/{rest...}",
		"/g/h/i"))
	parse(t, routes("/", "/{rest...}"))
	parse(t, routes("/a")+"  - {id: put, method: PUT, path: /a, access: public}\n")
}

func TestSegments(t *testing.T) {
	t.Parallel()
	r := manifest.Route{Path: "/posts/{id}/files/{path...}"}
	require.Equal(t, []manifest.Segment{{Literal: "posts"}, {Param: "id"}, {Literal: "files"},
		{Param: "path", Wildcard: true}}, r.Segments())
	require.Empty(t, (&manifest.Route{Path: "/"}).Segments())
}

func TestTheKeysOfTheDesignAreBuilt(t *testing.T) {
	t.Parallel()
	m, err := manifest.Load(filepath.Join("testdata", "design.yaml"))
	require.NoError(t, err)
	require.Equal(t, manifest.UpgradeOverlap, m.Runtime.Upgrade)
	require.Equal(t, manifest.UpgradeOverlap, parse(t, head).Runtime.Upgrade, "unless it says otherwise")
	require.Equal(t, manifest.UpgradeExclusive, parse(t, head+"runtime: {upgrade: exclusive}\n").Runtime.Upgrade)
}

func TestAllErrorsInTheOrderOfLines(t *testing.T) {
	t.Parallel()
	text := "apiVersion: v1\nnmae: blog\nversion: 1\nroutes:\n  - {id: a, method: get, path: a}\n"
	_, err := manifest.Parse("module.yaml", []byte(text))
	var codes []string
	for _, one := range errorsOf(t, err) {
		codes = append(codes, one.Code)
	}
	require.Equal(t, []string{"missing_key", "bad_api_version", "unknown_key", "bad_type", "bad_method", "route_without_access",
		"bad_route_path"}, codes)
	require.ErrorContains(t, err, `module.yaml:2: unknown key "nmae"; did you mean "name"?
fix: rename it to name, or remove it
`)
	var first *manifest.Error
	require.ErrorAs(t, err, &first)
	require.Equal(t, "name", first.Field)
}

func TestLongListIsCut(t *testing.T) {
	t.Parallel()
	_, err := manifest.Parse("module.yaml", []byte(routes(strings.Split(strings.Repeat("bad ", 25), " ")[:25]...)))
	require.Len(t, errorsOf(t, err), 25)
	require.Equal(t, 20, strings.Count(err.Error(), "fix: "))
	require.True(t, strings.HasSuffix(err.Error(), "\nand 5 more"))
}

func TestSuggestions(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"nmae": "name", "Name": "name", "verison": "version", "permision": "permissions", "route": "routes",
		"api_version": "apiVersion", "description_": "description", "require": "requires", "run-time": "runtime",
	} {
		_, err := manifest.Parse("module.yaml", []byte(head+word+": x\n"))
		require.ErrorContains(t, err, "did you mean \""+want+"\"?", word)
	}
	_, err := manifest.Parse("module.yaml", []byte(route("id: a, method: GET, path: /a, access: public, zz: b")))
	require.NotContains(t, err.Error(), "did you mean", "zz is two letters away from id, but so is every word of two")
	_, err = manifest.Parse("module.yaml", []byte(head+"xy: z\n"))
	require.NotContains(t, err.Error(), "did you mean")
	require.ErrorContains(t, err, "use one of: apiVersion, name,")
}

func TestValidateByHand(t *testing.T) {
	t.Parallel()
	m := manifest.Manifest{APIVersion: manifest.APIVersion, Name: "blog", Version: "1.0.0",
		Routes: []manifest.Route{{ID: "a", Method: "GET", Path: "/a", Access: manifest.AccessPublic}}}
	require.NoError(t, m.Validate())
	m.Routes[0].MaxBody, m.Routes[0].Timeout = -1, -1
	m.Requires.Modules = map[string]string{"billing": ""}
	m.Runtime.Restart = &manifest.Restart{Max: 1}
	errs := errorsOf(t, m.Validate())
	require.Equal(t, []string{"requires.modules.billing", "routes[0].maxBody", "routes[0].timeout", "runtime.restart.window"},
		[]string{errs[0].Field, errs[1].Field, errs[2].Field, errs[3].Field})
}

func TestSupportsPlatform(t *testing.T) {
	t.Parallel()
	m := parse(t, head+"requires: {platform: \">=0.2, <0.4\"}\n")
	for _, version := range []string{"0.2.0", "0.3.9", "0.2.0-rc.1", "v0.2.0-3-gabc-dirty", "0.2.0+build"} {
		require.NoError(t, m.SupportsPlatform(version), version)
	}
	for _, version := range []string{"0.1.9", "0.4.0", "0.4.0-rc.1", "1.0.0", "soon"} {
		require.Error(t, m.SupportsPlatform(version), version)
	}
	require.ErrorContains(t, m.SupportsPlatform("0.1.0"), "blog 0.3.0 requires platformd >=0.2, <0.4; this is 0.1.0\nfix: ")
	require.NoError(t, parse(t, head).SupportsPlatform("soon"))
}

func TestSizeAndDurationRoundTrip(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]manifest.Size{"5B": 5, "16KiB": 16 << 10, "1MiB": 1 << 20, "3GiB": 3 << 30, "1500B": 1500} {
		var s manifest.Size
		require.NoError(t, s.UnmarshalText([]byte(text)))
		require.Equal(t, want, s)
		require.Equal(t, text, s.String())
	}
	require.Equal(t, "0B", manifest.Size(0).String())
	var d manifest.Duration
	require.NoError(t, d.UnmarshalText([]byte("1h30m")))
	require.Equal(t, 90*time.Minute, d.Std())
	require.Equal(t, "1h30m0s", d.String())
}

package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// shipped is the config.yaml at the root of the repository.
const shipped = "../../../config.yaml"

// write puts text into a config.yaml that only its owner may read.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func load(t *testing.T, text string, env ...string) (*Config, error) {
	t.Helper()
	return Load(Options{Path: write(t, text), Explicit: true, Env: append([]string{}, env...)})
}

func TestShippedFileIsTheDefault(t *testing.T) {
	t.Parallel()
	c, err := Load(Options{Path: shipped, Explicit: true, Env: []string{}})
	require.NoError(t, err)
	require.Equal(t, Default(), *c)
	require.NoError(t, c.Validate())
}

// Every key is in the shipped file, with its description as the comment above it and, where that is so, with the notice
// that it is not supported yet; and nothing is described that does not exist.
func TestShippedFileDescribesEveryKey(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(shipped)
	require.NoError(t, err)
	root, bad := tree(data, func(line int) string { return fmt.Sprint(line) })
	require.Nil(t, bad)
	comments := map[string]string{}
	collectComments(root, "", comments)

	s, err := schema()
	require.NoError(t, err)
	want := map[string]string{}
	collectDescriptions(s, "", want)
	require.Equal(t, want, comments)
	for key := range descriptions() {
		if !strings.Contains(key, "*") {
			require.Contains(t, want, key)
		}
	}
}

func collectComments(n *yaml.Node, path string, into map[string]string) {
	for key, value := range pairs(n) {
		lines := strings.Split(key.HeadComment, "\n")
		into[join(path, key.Value)] = strings.TrimPrefix(lines[len(lines)-1], "# ")
		if value.Kind == yaml.MappingNode {
			collectComments(value, join(path, key.Value), into)
		}
	}
}

func collectDescriptions(s *jsonschema.Schema, path string, into map[string]string) {
	for name, key := range s.Properties {
		into[join(path, name)] = key.Description
		collectDescriptions(key, join(path, name), into)
	}
}

func TestNoFileIsTheDefault(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", filepath.Join(t.TempDir(), "config.yaml"), write(t, ""), write(t, "# empty\n"),
		write(t, "server:\ncache:\nmodules: {overrides: }\n")} {
		c, err := Load(Options{Path: path, Env: []string{}})
		require.NoError(t, err)
		require.Equal(t, Default(), *c)
	}
}

const everyKey = `
server:
  listen: "[::1]:9000"
  publicURL: https://platform.example.com/base/
  tls: { cert: CERT, key: KEY }
  trustedProxies: [10.0.0.0/8, 192.0.2.1, "::1"]
  maxConnections: 500
  maxConnectionsPerClient: 0
  cors: { origins: ["https://app.example.com", "http://localhost:5173", "*"] }
  holdTimeout: 1.5s
  drainTimeout: 1m30s
data: { dir: /var/lib/platformd }
modules:
  dir: mods
  overrides:
    blog:
      config: { title: "a: b", n: 3, big: 12345678901234567890, f: 1.5, on: true, none: null, day: 2024-01-02,
                list: [1, two, {x: y}] }
      restart: { max: 9, window: 1h }
      enabled: false
    billing: { enabled: true, restart: { max: 2 } }
database: { url: "postgresql://u@h:5433/d", maxConns: 1, moduleMaxConns: 2, isolation: schema }
events: { exchange: acme.events }
supervisor: { restart: { max: 1000000, window: 500ms } }
cache: { url: "unix:///run/redis.sock?db=3" }
auth:
  accessTTL: 24h
  refreshTTL: 24h
  oidc:
    - { name: example, url: "https://id.example/realms/a/", clientID: platformd, clientSecret: "$${a} b", audience: machines,
        scopes: [groups, "https://id.example/x"], roleClaim: realm_access.roles, roles: { Staff: [reader, e_d-1], "7": [] },
        allowSignUp: true }
    - { name: dev, url: "http://localhost:9999", clientID: x }
audit: { retention: 24h }
log: { level: trace, format: json }
`

func TestEveryKeyOfTheFile(t *testing.T) {
	t.Parallel()
	cert, key := writePair(t)
	c, err := load(t, strings.NewReplacer("CERT", cert, "KEY", key).Replace(everyKey))
	require.NoError(t, err)
	want := Default()
	want.Server = Server{
		Listen: "[::1]:9000", PublicURL: "https://platform.example.com/base", TLS: TLS{Cert: cert, Key: key},
		TrustedProxies: []string{"10.0.0.0/8", "192.0.2.1", "::1"}, MaxConnections: 500, MaxConnectionsPerClient: 0,
		CORS:        CORS{Origins: []string{"https://app.example.com", "http://localhost:5173", "*"}},
		HoldTimeout: 1500 * time.Millisecond, DrainTimeout: 90 * time.Second,
	}
	want.Data.Dir = "/var/lib/platformd"
	want.Modules.Dir = "mods"
	want.Modules.Overrides = map[string]Override{
		"blog": {
			Config: map[string]any{"title": "a: b", "n": 3, "big": uint64(12345678901234567890), "f": 1.5, "on": true, "none": nil,
				"day": "2024-01-02", "list": []any{1, "two", map[string]any{"x": "y"}}},
			Restart: RestartOverride{Max: ptr(9), Window: ptr(time.Hour)},
			Enabled: ptr(false),
		},
		"billing": {Enabled: ptr(true), Restart: RestartOverride{Max: ptr(2)}},
	}
	want.Database = Database{URL: "postgresql://u@h:5433/d", MaxConns: 1, ModuleMaxConns: 2, Isolation: "schema"}
	want.Events.Exchange = "acme.events"
	want.Supervisor.Restart = Restart{Max: 1000000, Window: 500 * time.Millisecond}
	want.Cache.URL = "unix:///run/redis.sock?db=3"
	want.Auth = Auth{AccessTTL: 24 * time.Hour, RefreshTTL: 24 * time.Hour, OIDC: []OIDC{
		{Name: "example", URL: "https://id.example/realms/a/", ClientID: "platformd", ClientSecret: "${a} b", Audience: "machines",
			Scopes: []string{"groups", "https://id.example/x"}, RoleClaim: "realm_access.roles",
			Roles: map[string][]string{"Staff": {"reader", "e_d-1"}, "7": nil}, AllowSignUp: true},
		{Name: "dev", URL: "http://localhost:9999", ClientID: "x"},
	}}
	want.Audit.Retention = 24 * time.Hour
	want.Log = Log{Level: "trace", Format: "json"}
	require.Equal(t, want, *c)

	blog, absent := c.Modules.Overrides["blog"], c.Modules.Overrides["absent"]
	require.False(t, blog.IsEnabled())
	require.True(t, absent.IsEnabled())
	require.Equal(t, Restart{Max: 9, Window: time.Hour}, blog.Restart.Apply(c.Supervisor.Restart))
	require.Equal(t, Restart{Max: 2, Window: 500 * time.Millisecond},
		c.Modules.Overrides["billing"].Restart.Apply(c.Supervisor.Restart))
	require.Equal(t, c.Supervisor.Restart, absent.Restart.Apply(c.Supervisor.Restart))
}

func ptr[T any](v T) *T { return &v }

func TestMissingAndUnreadableFiles(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "nope.yaml")
	_, err := Load(Options{Path: missing, Explicit: true, Env: []string{}})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, missing)
	require.ErrorContains(t, err, "\nfix: ")

	_, err = Load(Options{Path: t.TempDir(), Env: []string{}})
	require.ErrorContains(t, err, "not a regular file")
	_, err = load(t, "# "+strings.Repeat("x", MaxSize))
	require.ErrorContains(t, err, "larger than 256 KiB")
}

// What is printed may be loaded again, and is then the same configuration.
func TestYAMLRoundTrip(t *testing.T) {
	t.Parallel()
	c, err := load(t, `
server: { trustedProxies: [10.0.0.1], holdTimeout: 90m }
cache: { url: "unix:///run/redis.sock?db=2" }
auth: { oidc: [{ name: a, url: "https://a", clientID: "$$$${x}", roleClaim: $a, roles: { "${y}": [r, s], b: [] },
                 allowSignUp: true }] }
audit: { retention: 8760h }
modules:
  overrides:
    blog: { config: { price: "$${x} 5$", on: "true", "$k": $1 }, restart: { window: 1h1s }, enabled: false }
`)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"price": "${x} 5$", "on": "true", "$k": "$1"}, c.Modules.Overrides["blog"].Config)
	require.Equal(t, "$${x}", c.Auth.OIDC[0].ClientID)
	text, err := c.YAML()
	require.NoError(t, err)
	again, err := load(t, string(text))
	require.NoError(t, err, string(text))
	require.Equal(t, c, again)
	require.Contains(t, string(text), "holdTimeout: 1h30m\n")
	require.Contains(t, string(text), "refreshTTL: 720h\n")
	require.Contains(t, string(text), "window: 1h0m1s\n")
}

func TestFormatDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{0: "0s", time.Second: "1s", 15 * time.Minute: "15m", 720 * time.Hour: "720h",
		70 * time.Second: "1m10s", 10 * time.Second: "10s", time.Hour + time.Minute: "1h1m", 10 * time.Hour: "10h"} {
		require.Equal(t, want, formatDuration(d))
	}
}

// The schema accepts what Load accepts, and refuses what can be refused without ${VAR} and files.
func TestSchema(t *testing.T) {
	t.Parallel()
	text, err := Schema()
	require.NoError(t, err)
	var s jsonschema.Schema
	require.NoError(t, json.Unmarshal(text, &s))
	resolved, err := s.Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true})
	require.NoError(t, err)

	c := Default()
	c.Modules.Overrides = map[string]Override{"blog": {Config: map[string]any{"a": 1},
		Restart: RestartOverride{Max: ptr(1)}, Enabled: ptr(true)}}
	c.Auth.OIDC = []OIDC{{Name: "a", URL: "https://a.example", ClientID: "x", ClientSecret: "s", Scopes: []string{"groups"},
		RoleClaim: "g", Roles: map[string][]string{"A b": {"reader"}, "c": nil}}, {Name: "b", URL: "http://[::1]", ClientID: "y"}}
	c.Cache.URL, c.Audit.Retention = "rediss://:p@h", 48*time.Hour
	require.NoError(t, c.Validate())
	asJSON, err := json.Marshal(&c)
	require.NoError(t, err)
	var value any
	require.NoError(t, json.Unmarshal(asJSON, &value))
	require.NoError(t, resolved.Validate(value))
	require.NoError(t, resolved.Validate(map[string]any{}))
	require.NoError(t, resolved.Validate(map[string]any{"server": map[string]any{"maxConnections": 0}}))

	for _, bad := range []string{`{"servr": {}}`, `{"server": {"holdTimeout": 5}}`, `{"server": {"holdTimeout": "5"}}`,
		`{"log": {"level": "loud"}}`, `{"database": {"isolation": "none"}}`, `{"database": {"url": "mysql://h/d"}}`,
		`{"database": {"maxConns": 0}}`, `{"modules": {"requireSigned": "yes"}}`, `{"modules": {"overrides": {"Blog": {}}}}`,
		`{"modules": {"overrides": {"blog": {"confg": {}}}}}`, `{"modules": {"overrides": {"blog": {"limits": {"pids": 1}}}}}`,
		`{"cache": {"url": "http://h"}}`, `{"audit": {"retention": 5}}`, `{"auth": {"oidc": [{}]}}`, `{"auth": {"oidc": [null]}}`,
		`{"auth": {"oidc": [{"name": "a", "url": "https://a"}]}}`,
		`{"auth": {"oidc": [{"name": "A", "url": "https://a", "clientID": "x"}]}}`,
		`{"auth": {"oidc": [{"name": "a", "url": "ldap://a", "clientID": "x"}]}}`,
		`{"auth": {"oidc": [{"name": "a", "url": "https://a", "clientID": ""}]}}`,
		`{"auth": {"oidc": [{"name": "a", "url": "https://a", "clientID": "x", "clientSecret": 5}]}}`,
		`{"auth": {"oidc": [{"name": "a", "url": "https://a", "clientID": "x", "issuer": "x"}]}}`,
		`{"auth": {"oidc": [{"name": "a", "url": "https://a", "clientID": "x", "scopes": ["a b"]}]}}`,
		`{"auth": {"oidc": [{"name": "a", "url": "https://a", "clientID": "x", "roles": {"": []}}]}}`,
		`{"auth": {"oidc": [{"name": "a", "url": "https://a", "clientID": "x", "roles": {"v": ["R"]}}]}}`,
		`{"server": {"trustedProxies": null}}`, `{"server": {"maxConnections": -1}}`} {
		require.NoError(t, json.Unmarshal([]byte(bad), &value))
		require.Error(t, resolved.Validate(value), bad)
	}
}

// The tags are written by hand; the names that they give must agree.
func TestTagsAgree(t *testing.T) {
	t.Parallel()
	c := Default()
	for _, key := range append(configLeaves(&c), leaves(reflect.ValueOf(&Override{}).Elem(), "", envPrefix)...) {
		require.Equal(t, envPrefix+strings.ToUpper(strings.ReplaceAll(key.path, ".", "_")), key.variable)
	}
}

func TestCopiesShareNoOverrides(t *testing.T) {
	t.Parallel()
	var c Config
	c.setOverride("blog", Override{Enabled: ptr(false)})
	before := c
	c.setOverride("hello", Override{})
	require.Len(t, before.Modules.Overrides, 1)
	require.Len(t, c.Modules.Overrides, 2)
}

func TestJSONHasTheKeysOfYAML(t *testing.T) {
	t.Parallel()
	c := Default()
	asYAML, err := c.YAML()
	require.NoError(t, err)
	asJSON, err := json.Marshal(&c)
	require.NoError(t, err)
	var fromYAML, fromJSON any
	require.NoError(t, yaml.NewDecoder(bytes.NewReader(asYAML)).Decode(&fromYAML))
	require.NoError(t, json.Unmarshal(asJSON, &fromJSON))
	again, err := json.Marshal(fromYAML)
	require.NoError(t, err)
	require.JSONEq(t, string(again), string(asJSON))
	require.Contains(t, string(asJSON), `"holdTimeout":"5s"`)
}

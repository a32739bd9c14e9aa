package config

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type sample struct {
	text  string
	value any
}

// samples has a value other than the default for every type of key, as a variable has it and as the key then has it.
func samples() map[reflect.Type]sample {
	return map[reflect.Type]sample{
		reflect.TypeFor[string]():         {"sample", "sample"},
		reflect.TypeFor[SecretURL]():      {"proto://u:p@h/d", SecretURL("proto://u:p@h/d")},
		reflect.TypeFor[int]():            {"17", 17},
		reflect.TypeFor[bool]():           {"TRUE", true},
		reflect.TypeFor[time.Duration]():  {"17s", 17 * time.Second},
		reflect.TypeFor[[]string]():       {"a, b,", []string{"a", "b"}},
		reflect.TypeFor[map[string]any](): {`{"a": 1}`, map[string]any{"a": 1}},
		reflect.TypeFor[[]OIDC](): {`[{"name": "a", "clientSecret": "${X}$$"}, {roles: {x: [y]}}]`,
			[]OIDC{{Name: "a", ClientSecret: "${X}$$"}, {Roles: map[string][]string{"x": {"y"}}}}},
		reflect.TypeFor[map[string]Override](): {`{"blog": {"enabled": false}}`, map[string]Override{"blog": {Enabled: ptr(false)}}},
		reflect.TypeFor[*bool]():               {"false", ptr(false)},
		reflect.TypeFor[*int]():                {"3", ptr(3)},
		reflect.TypeFor[*float64]():            {"0.5", ptr(0.5)},
		reflect.TypeFor[*time.Duration]():      {"3m", ptr(3 * time.Minute)},
	}
}

// Every key can be overridden, and its variable overrides the file. A key of a new type must be given a sample.
func TestEveryKeyHasAVariable(t *testing.T) {
	t.Parallel()
	defaults := Default()
	for i, key := range configLeaves(&defaults) {
		t.Run(key.variable, func(t *testing.T) {
			t.Parallel()
			sample, known := samples()[key.value.Type()]
			require.True(t, known, "no sample for %s", key.value.Type())
			l := loader{config: Default(), env: map[string]string{key.variable: sample.text}, origins: origins{key.path: "config.yaml:1"}}
			l.environment()
			require.Empty(t, l.errs)
			require.Equal(t, sample.value, configLeaves(&l.config)[i].value.Interface())
			require.NotEqual(t, key.value.Interface(), sample.value, "the sample is the default")
			require.Equal(t, key.variable, l.origins.find(key.path))
			requireOnlyChange(t, l.config, i)
		})
	}
}

func requireOnlyChange(t *testing.T, c Config, changed int) {
	t.Helper()
	defaults := Default()
	want := configLeaves(&defaults)
	for i, key := range configLeaves(&c) {
		if i != changed {
			require.Equal(t, want[i].value.Interface(), key.value.Interface(), key.path)
		}
	}
}

func TestEveryKeyOfAnOverrideHasAVariable(t *testing.T) {
	t.Parallel()
	for i, key := range leaves(reflect.ValueOf(&Override{}).Elem(), "", "_") {
		sample, known := samples()[key.value.Type()]
		require.True(t, known, "no sample for %s", key.value.Type())
		name := "PLATFORMD_MODULES_OVERRIDES_MY_BLOG" + key.variable
		l := loader{config: Default(), env: map[string]string{name: sample.text}, origins: origins{}}
		l.environment()
		require.Empty(t, l.errs)
		o := l.config.Modules.Overrides["my_blog"]
		require.Equal(t, sample.value, leaves(reflect.ValueOf(&o).Elem(), "", "")[i].value.Interface(), name)
		require.Equal(t, name, l.origins.find("modules.overrides[my_blog]."+key.path))
	}
}

func TestVariablesOfOverridesRefineTheFile(t *testing.T) {
	t.Parallel()
	c, err := load(t, "modules: {overrides: {blog: {config: {a: 1}, restart: {max: 2}}, hello: {enabled: false}}}",
		"PLATFORMD_MODULES_OVERRIDES_BLOG_RESTART_MAX=7", "PLATFORMD_MODULES_OVERRIDES_BLOG_ENABLED=false")
	require.NoError(t, err)
	require.Equal(t, map[string]Override{
		"blog":  {Config: map[string]any{"a": 1}, Restart: RestartOverride{Max: ptr(7)}, Enabled: ptr(false)},
		"hello": {Enabled: ptr(false)},
	}, c.Modules.Overrides)
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	path := write(t, "server: {listen: 'file:1'}\nlog: {level: warn, format: json}\ndata: {dir: from-file}\n")
	c, err := Load(Options{Path: path,
		Env:   []string{"PLATFORMD_SERVER_LISTEN=env:2", "PLATFORMD_LOG_LEVEL=debug", "PLATFORMD_DATA_DIR="},
		Flags: func(c *Config) { c.Server.Listen = "flag:3" }})
	require.NoError(t, err)
	require.Equal(t, "flag:3", c.Server.Listen)
	require.Equal(t, "debug", c.Log.Level)
	require.Equal(t, "json", c.Log.Format)
	require.Equal(t, "from-file", c.Data.Dir, "an empty variable counts as not set")
	require.Equal(t, Default().Modules.Dir, c.Modules.Dir)
}

// An error names where the value that is in force came from, not one that it replaced.
func TestErrorsNameTheSource(t *testing.T) {
	t.Parallel()
	path := write(t, "log:\n  level: loud\nserver:\n  cors:\n    origins:\n      - https://ok.example\n      - nonsense\n")
	source := func(o Options) map[string]string {
		o.Path = path
		_, err := Load(o)
		var errs Errors
		require.ErrorAs(t, err, &errs)
		found := map[string]string{}
		for _, e := range errs {
			found[e.Key] = e.Source
		}
		return found
	}
	inFile := path + ":7"
	require.Equal(t, map[string]string{"log.level": path + ":2", "server.cors.origins[1]": inFile}, source(Options{Env: []string{}}))
	require.Equal(t, map[string]string{"log.level": "PLATFORMD_LOG_LEVEL", "server.cors.origins[1]": inFile},
		source(Options{Env: []string{"PLATFORMD_LOG_LEVEL=louder"}}))
	require.Equal(t, map[string]string{"log.level": "", "server.cors.origins[0]": "PLATFORMD_SERVER_CORS_ORIGINS"},
		source(Options{Env: []string{"PLATFORMD_LOG_LEVEL=louder", "PLATFORMD_SERVER_CORS_ORIGINS=x"},
			Flags: func(c *Config) { c.Log.Level = "x" }}))
}

func TestSecretsFromFiles(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "url")
	require.NoError(t, os.WriteFile(secret, []byte("proto://u:hunter2@h/d\n"), 0o644))
	for _, name := range []string{"DATABASE_URL", "EVENTS_URL", "CACHE_URL"} {
		l := loader{config: Default(), env: map[string]string{"PLATFORMD_" + name + "_FILE": secret}, origins: origins{}}
		l.environment()
		require.Empty(t, l.errs)
		c := l.config
		urls := map[string]SecretURL{"DATABASE_URL": c.Database.URL, "EVENTS_URL": c.Events.URL, "CACHE_URL": c.Cache.URL}
		require.Equal(t, "proto://u:hunter2@h/d", urls[name].Reveal())
	}
	_, err := load(t, "", "PLATFORMD_CACHE_URL_FILE="+secret)
	require.ErrorContains(t, err, "PLATFORMD_CACHE_URL_FILE: `cache.url` is not the URL of a Redis server")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestBadEnvironment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, test := range []struct{ variable, code, message string }{
		{"PLATFORMD_SERVER_HOLDTIMEOUT=5", "no_unit", "`server.holdTimeout`: 5 has no unit; write 5s"},
		{"PLATFORMD_DATABASE_MAXCONNS=many", "bad_type", `"many" is not a whole number`},
		{"PLATFORMD_MODULES_REQUIRESIGNED=1", "bad_type", `"1" is neither true nor false`},
		{"PLATFORMD_SERVER_LISTEN=:70000", "out_of_range", "port 70000 is out of range"},
		{"PLATFORMD_DATA_DIR=\xff", "bad_encoding", "`data.dir` is not UTF-8"},
		{"PLATFORMD_DATABASE_URL_FILE=" + filepath.Join(dir, "none"), "unreadable", "`database.url`: read the secret: open"},
		{"PLATFORMD_DATABASE_URL_FILE=" + dir, "unreadable", "not a regular file"},
		{"PLATFORMD_SERVER_TLS_KEY_FILE=x", "unknown_variable", "this key is not a secret"},
		{"PLATFORMD_SERVER_HOLD_TIMEOUT=5s", "unknown_variable", "did you mean PLATFORMD_SERVER_HOLDTIMEOUT?"},
		{"PLATFORMD_DATABASE_URI_FILE=x", "unknown_variable", "did you mean PLATFORMD_DATABASE_URL_FILE?"},
		{"PLATFORMD_MODULES_OVERRIDES=[]", "bad_type", "`modules.overrides` must be a block of keys and values"},
		{"PLATFORMD_MODULES_OVERRIDES={blog: {enabld: true}}", "unknown_key", `did you mean "enabled"?`},
		{"PLATFORMD_MODULES_OVERRIDES={blog: ", "bad_yaml", "this is not YAML"},
		{"PLATFORMD_MODULES_OVERRIDES={blog: &x {}}", "alias", "not allowed"},
		{"PLATFORMD_MODULES_OVERRIDES_BLOG_ENABLD=true", "unknown_variable", "no key of a module's override"},
		{"PLATFORMD_MODULES_OVERRIDES_ENABLED=true", "unknown_variable", "no key of a module's override"},
		{"PLATFORMD_MODULES_OVERRIDES_BLOG_ENABLED=yes", "bad_type", "`modules.overrides.blog.enabled`"},
		{"PLATFORMD_MODULES_OVERRIDES_BLOG_RESTART_MAX=0", "out_of_range", "must be at least 1, not 0"},
		{"PLATFORMD_AUTH_OIDC=hunter2", "bad_type", "PLATFORMD_AUTH_OIDC: `auth.oidc` must be a list"},
		{"PLATFORMD_AUTH_OIDC=[{clientId: x, clientSecret: hunter2}]", "unknown_key", `did you mean "clientID"?`},
		{`PLATFORMD_AUTH_OIDC=[{"name": "a", "url": "https://a.example", "clientID": "", "clientSecret": "hunter2"}]`, "bad_value",
			"PLATFORMD_AUTH_OIDC: `auth.oidc[0].clientID` is empty"},
		{"PLATFORMD_AUTH_OIDC_FILE=" + dir, "unreadable", "`auth.oidc`: read the secret: not a regular file"},
		{"PLATFORMD_AUTH_ODIC_FILE=x", "unknown_variable", "did you mean PLATFORMD_AUTH_OIDC_FILE?"},
		{"PLATFORMD_AUDIT_RETENTION=23h", "out_of_range", "PLATFORMD_AUDIT_RETENTION: `audit.retention` must be at least 24h, not 23h"},
		{"PLATFORMD_CACHE_URL=redis://u:hunter2@h/x", "bad_url", "PLATFORMD_CACHE_URL: `cache.url` has a path"},
		{"PLATFORMD_MODULES_OVERRIDES_9_ENABLED=true", "bad_value", `"9" is not the name of a module`},
	} {
		_, err := load(t, "", test.variable)
		requireOne(t, err, test.code, test.message)
		require.NotContains(t, err.Error(), "hunter2")
	}
	_, err := load(t, "", "PLATFORMD_CACHE_URL=redis://h", "PLATFORMD_CACHE_URL_FILE=/x")
	requireOne(t, err, "conflict", "both PLATFORMD_CACHE_URL and PLATFORMD_CACHE_URL_FILE are set")
}

// Variables of others that begin like ours do no harm, and ${VAR} is for the file only.
func TestForeignVariables(t *testing.T) {
	t.Parallel()
	c, err := load(t, "", "PLATFORMD_PORT=tcp://10.0.0.1:8080", "PLATFORMD_SERVICE_HOST=10.0.0.1",
		"PLATFORMD_SERVER_SERVICE_PORT=80", "OTHER=1", "PLATFORMD_=1", "PLATFORMD_MODULES_OVERRIDES_X_Y=",
		"PLATFORMD_DATA_DIR=/srv/${X}$$")
	require.NoError(t, err)
	want := Default()
	want.Data.Dir = "/srv/${X}$$"
	require.Equal(t, want, *c)
}

func TestNilEnvironmentIsTheProcess(t *testing.T) {
	t.Setenv("PLATFORMD_LOG_LEVEL", "trace")
	c, err := Load(Options{})
	require.NoError(t, err)
	require.Equal(t, "trace", c.Log.Level)
}

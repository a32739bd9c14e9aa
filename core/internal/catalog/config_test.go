package catalog

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/manifest"
)

func withSchema(t *testing.T, schema string) *Module {
	t.Helper()
	dir := t.TempDir()
	blog := install(t, dir, "blog 0.3.0", "config: {schema: config.schema.json}\n")
	write(t, filepath.Join(blog, "config.schema.json"), schema, 0o644)
	c := scan(t, dir)
	require.Empty(t, c.Problems)
	return c.Get("blog")
}

func TestValidateConfig(t *testing.T) {
	t.Parallel()
	m := withSchema(t, `{"type": "object", "additionalProperties": false, "required": ["port"], "properties": {
		"port": {"type": "integer", "maximum": 65535}, "name": {"type": "string", "default": "x"},
		"smtp": {"type": "object", "required": ["host"], "properties": {"host": {"type": "string"}, "tls": {"default": true}}},
		"key": {"pattern": "^k-"}, "mode": {"enum": ["a", "b"]}, "list": {"items": {"$ref": "#/$defs/part"}}},
		"$defs": {"part": {"type": "string", "minLength": 1}}}`)

	data, err := m.ValidateConfig(map[string]any{"port": 80, "name": "blog", "list": []any{"x"}})
	require.NoError(t, err)
	canonical := `{"list":["x"],"name":"blog","port":80}`
	require.Equal(t, canonical, string(data), "the keys are sorted")
	data, err = m.ValidateConfig(map[string]any{"port": 80})
	require.NoError(t, err)
	require.JSONEq(t, `{"port":80}`, string(data), "the module knows its own defaults")

	unfit := func(place, keyword string) string {
		return fmt.Sprintf("at %s: the value does not satisfy the schema's `%s`", place, keyword)
	}
	for name, c := range map[string]struct {
		raw  map[string]any
		want string
	}{
		"nothing":     {nil, `at root: required: missing properties: ["port"]`},
		"type":        {map[string]any{"port": "hunter2"}, unfit("/properties/port", "type")},
		"maximum":     {map[string]any{"port": 70000}, unfit("/properties/port", "maximum")},
		"pattern":     {map[string]any{"port": 1, "key": "hunter2"}, unfit("/properties/key", "pattern")},
		"enum":        {map[string]any{"port": 1, "mode": "hunter2"}, unfit("/properties/mode", "enum")},
		"reference":   {map[string]any{"port": 1, "list": []any{""}}, unfit("/$defs/part", "minLength")},
		"unknown key": {map[string]any{"port": 1, "prot": "hunter2"}, `at root: unexpected additional properties ["prot"]`},
		"nested": {map[string]any{"port": 1, "smtp": map[string]any{}},
			`at /properties/smtp: required: missing properties: ["host"]`},
		"no JSON": {map[string]any{"port": make(chan int)}, "it cannot be written as JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := m.ValidateConfig(c.raw)
			require.EqualError(t, err, "the config of the module blog: "+c.want+
				"\nfix: correct modules.overrides.blog.config in config.yaml")
		})
	}
}

func TestModuleWithoutSchemaTakesNoConfig(t *testing.T) {
	t.Parallel()
	m := &Module{Manifest: &manifest.Manifest{Name: "hello"}}
	for _, empty := range []map[string]any{nil, {}} {
		data, err := m.ValidateConfig(empty)
		require.NoError(t, err)
		require.Equal(t, "{}", string(data))
	}
	_, err := m.ValidateConfig(map[string]any{"a": 1})
	require.Equal(t, "config_not_accepted", code(t, err))
}

// A schema comes from a module, and the core must outlive it.
func TestHostileSchemas(t *testing.T) {
	t.Parallel()
	doubling := `{"$ref": "#/$defs/a0", "$defs": {`
	for i := range 60 {
		doubling += fmt.Sprintf(`"a%d": {"allOf": [{"$ref": "#/$defs/a%d"}, {"$ref": "#/$defs/a%d"}]},`, i, i+1, i+1)
	}
	doubling += `"a60": {}}}`
	const itself, elsewhere = "leads back to itself", "does not lead to a place in this file"
	const special = "$dynamicRef and $id within the schema are not supported"
	for name, c := range map[string]struct{ schema, want string }{
		"refers to itself":         {`{"$ref": "#"}`, itself},
		"refers to itself, hidden": {`{"anyOf": [{"not": {"if": {"$ref": "#"}}}]}`, itself},
		"two refer to each other": {`{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}}`,
			itself},
		"by dependentSchemas":       {`{"dependentSchemas": {"x": {"$ref": "#"}}}`, itself},
		"escaped reference":         {`{"$defs": {"a": {"$ref": "#/%24defs/a"}}}`, itself},
		"doubles":                   {doubling, "more than 10000 schemas"},
		"refers to another file":    {`{"$ref": "file:///etc/passwd"}`, elsewhere},
		"refers to a server":        {`{"$ref": "http://localhost/x#/a"}`, elsewhere},
		"refers to an anchor":       {`{"$ref": "#x", "$anchor": "x"}`, elsewhere},
		"refers to nothing":         {`{"$ref": "#/$defs/a"}`, "leads nowhere"},
		"dynamic reference":         {`{"$dynamicRef": "#x", "$dynamicAnchor": "x"}`, special},
		"changes what # means":      {`{"$defs": {"a": {"$id": "b", "$ref": "#"}}}`, special},
		"unknown draft is no crash": {`{"$schema": "http://json-schema.org/draft-04/schema#", "type": "object"}`, ""},
		"recursive, but goes on": {`{"properties": {"x": {"$ref": "#"}},
			"$defs": {"a": true, "b": {"$ref": "#/$defs/a"}}}`, ""},
		"property named $id":  {`{"properties": {"$id": {"type": "string"}, "$ref": {"type": "string"}, "not": true}}`, ""},
		"deep":                {strings.Repeat(`{"not":`, 128) + "{}" + strings.Repeat("}", 128), ""},
		"too deep":            {strings.Repeat(`{"not":`, 129) + "{}" + strings.Repeat("}", 129), "deeper than 128 levels"},
		"too deep in lists":   {`{"allOf":` + strings.Repeat(`[`, 5000) + strings.Repeat("]", 5000) + "}", "deeper than 128 levels"},
		"too deep to be read": {strings.Repeat(`{"not":`, 20000) + "{}" + strings.Repeat("}", 20000), "it is not JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			compiled, err := compile([]byte(c.schema))
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
			} else {
				require.NoError(t, err)
				require.NotPanics(t, func() { _ = compiled.Validate(map[string]any{"x": map[string]any{"x": map[string]any{}}}) })
			}
			require.Less(t, time.Since(begun), 30*time.Second)
		})
	}
}

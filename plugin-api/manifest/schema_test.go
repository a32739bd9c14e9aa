package manifest_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/platformd/platformd/plugin-api/manifest"
)

func resolvedSchema(t testing.TB) *jsonschema.Resolved {
	t.Helper()
	data, err := manifest.Schema()
	require.NoError(t, err)
	var s jsonschema.Schema
	require.NoError(t, json.Unmarshal(data, &s))
	resolved, err := s.Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true})
	require.NoError(t, err)
	return resolved
}

// generic decodes YAML as an editor does that knows nothing of our types.
func generic(t testing.TB, data []byte) any {
	t.Helper()
	var v any
	require.NoError(t, yaml.Unmarshal(data, &v))
	return v
}

// encode writes a manifest as JSON, which is YAML too, without what an empty struct would leave behind.
func encode(t testing.TB, m *manifest.Manifest) []byte {
	t.Helper()
	data, err := json.Marshal(m)
	require.NoError(t, err)
	return data
}

var update = flag.Bool("update", false, "write the golden schema anew")

func TestSchemaIsGolden(t *testing.T) {
	t.Parallel()
	golden := filepath.Join("testdata", "module.schema.json")
	got, err := manifest.Schema()
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(golden, got, 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "go test ./manifest -run Golden -update writes it anew")
}

func TestSchemaAcceptsWhatParseAccepts(t *testing.T) {
	t.Parallel()
	schema := resolvedSchema(t)
	for _, name := range []string{"blog.yaml", "hello.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		require.NoError(t, schema.Validate(generic(t, data)), name)
	}
	for _, path := range []string{"/", "/a", "/a/{b}", "/{a}/b/{c...}", "/{rest...}", "/v1.0/~me/a,b;c=d@e!$&'()+"} {
		text := routes(path)
		parse(t, text)
		require.NoError(t, schema.Validate(generic(t, []byte(text))), path)
	}
}

// What the schema cannot see is a rule between two places of the file, or one about its bytes; it must see all the rest.
func TestSchemaRefusesWhatParseRefuses(t *testing.T) {
	t.Parallel()
	schema := resolvedSchema(t)
	unseen := map[string]bool{
		// bytes and YAML
		"too_large": true, "alias": true, "tag": true, "duplicate_key": true, "second_document": true, "bad_encoding": true,
		"bad_yaml": true, "bad_text": true,
		// two places
		"self_dependency": true, "ambiguous_dependency": true, "foreign_permission": true, "duplicate_permission": true,
		"foreign_event": true, "duplicate_event": true, "duplicate_subscription": true, "duplicate_service": true,
		"own_service": true, "consumes_of_nobody": true,
		"undeclared_permission": true, "duplicate_route": true, "stream_needs_get": true, "undeclared_need": true,
		"route_conflict": true, "needless_idempotency_key": true, "migrations_without_database": true,
		// beyond a pattern
		"bad_constraint": true, "reserved_name": true, "reserved_env": true, "reserved_service": true,
		"out_of_bounds": true, "bad_path": true,
	}
	unseenCases := map[string]bool{
		"only comments": true, "merge key": true, "key that is a list": true, "hexadecimal number": true,
		"maxBody zero": true, "maxBody too large": true, "timeout zero": true, "path /{id}/{id}": true,
		"path /{id}/{id...}": true, "path /posts/../x": true, "path /./posts": true, "path /posts/..": true,
		"path /posts/.": true, "duplicate key in what is still to come": true,
	}
	checked := 0
	for _, c := range badCases() {
		if unseen[c.code] || unseenCases[c.name] {
			continue
		}
		checked++
		require.Error(t, schema.Validate(generic(t, []byte(c.text))), c.name)
	}
	require.Greater(t, checked, 80)
}

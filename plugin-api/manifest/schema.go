package manifest

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/google/jsonschema-go/jsonschema"
)

// Schema returns the JSON Schema (draft 2020-12) of module.yaml, for editors and for authors in other languages. It is
// emitted from the types; rules that concern two places at once are Validate's alone.
func Schema() ([]byte, error) {
	s, err := jsonschema.For[Manifest](&jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[Size]():     {Type: "string", Pattern: `^[0-9]+(B|KiB|MiB|GiB)$`},
		reflect.TypeFor[Duration](): {Type: "string", Pattern: `^\+?([0-9]*\.?[0-9]*(ns|us|µs|μs|ms|s|m|h))+$`},
	}})
	if err != nil {
		return nil, fmt.Errorf("emit the schema of module.yaml: %w", err)
	}
	s.Schema = "https://json-schema.org/draft/2020-12/schema"
	s.Title = "platformd module manifest (module.yaml)"
	tidy(s)
	constrain(s)
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the schema of module.yaml: %w", err)
	}
	return append(out, '\n'), nil
}

// tidy takes back the null that is inferred for slices and pointers, and forbids empty text: a key without a value is an
// error here.
func tidy(s *jsonschema.Schema) {
	if len(s.Types) == 2 && s.Types[0] == "null" {
		s.Type, s.Types = s.Types[1], nil
	}
	if s.Type == "string" {
		s.MinLength = jsonschema.Ptr(1)
	}
	for _, child := range s.Properties {
		tidy(child)
	}
	for _, child := range []*jsonschema.Schema{s.Items, s.AdditionalProperties} {
		if child != nil {
			tidy(child)
		}
	}
}

// constrain adds what Go's types cannot say.
func constrain(s *jsonschema.Schema) {
	p := s.Properties
	p["apiVersion"].Enum = []any{APIVersion}
	p["name"].Pattern = namePattern
	p["version"].Pattern = versionPattern
	p["migrations"].Enum = []any{MigrationsGo, MigrationsSQL}
	for _, dependencies := range []string{"modules", "optional"} {
		p["requires"].Properties[dependencies].PropertyNames = &jsonschema.Schema{Pattern: namePattern}
	}
	permission := p["permissions"].Items.Properties
	permission["name"].Pattern = permissionPattern
	permission["description"].Pattern = `\S`
	permission["roles"].Items.Pattern = rolePattern
	permission["roles"].UniqueItems = true
	constrainRoute(p["routes"].Items)
	constrainGrants(p["grants"])
	constrainEvents(p["events"])
	constrainServices(p["services"])
	constrainRuntime(p["runtime"].Properties)
}

func constrainRoute(route *jsonschema.Schema) {
	p := route.Properties
	p["id"].Pattern = routeIDPattern
	p["path"].Pattern = routePattern
	p["path"].MaxLength = jsonschema.Ptr(maxPath)
	p["permission"].Pattern = permissionPattern
	p["method"].Enum = enum(methods())
	p["access"].Enum = enum([]string{AccessPublic, AccessAuthenticated})
	p["stream"].Enum = enum(streams())
	p["stream"].Default = json.RawMessage(`"` + StreamNone + `"`)
	p["maxBody"].Default = json.RawMessage(`"` + defaultMaxBody.String() + `"`)
	p["needs"].UniqueItems = true
	p["idempotencyKey"].Default = json.RawMessage("false")
	route.OneOf = []*jsonschema.Schema{{Required: []string{"permission"}}, {Required: []string{"access"}}}
}

func constrainRuntime(p map[string]*jsonschema.Schema) {
	phase := json.RawMessage(`"` + defaultPhase.String() + `"`)
	p["startTimeout"].Default, p["stopTimeout"].Default = phase, phase
	constrainLimits(p)
	p["upgrade"].Enum = []any{UpgradeOverlap, UpgradeExclusive}
	p["upgrade"].Default = json.RawMessage(`"` + UpgradeOverlap + `"`)
	p["env"].Items.Pattern = envPattern
	p["env"].UniqueItems = true
	p["restart"].Properties["max"].Minimum = jsonschema.Ptr(0.0)
}

func enum(values []string) []any {
	all := make([]any, len(values))
	for i, v := range values {
		all[i] = v
	}
	return all
}

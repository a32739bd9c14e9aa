package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// Schema returns the JSON Schema (2020-12) of config.yaml, emitted from the types: for editors, and for whoever generates
// configuration. It describes values as they are once ${VAR} has been replaced.
func Schema() ([]byte, error) {
	s, err := schema()
	if err != nil {
		return nil, fmt.Errorf("emit the schema of config.yaml: %w", err)
	}
	return json.MarshalIndent(s, "", "  ")
}

func schema() (*jsonschema.Schema, error) {
	s, err := jsonschema.ForType(reflect.TypeFor[Config](), &jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[time.Duration](): {Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`},
	}})
	if err != nil {
		return nil, err
	}
	s.Schema, s.Title = "https://json-schema.org/draft/2020-12/schema", "config.yaml of platformd"
	r := refiner{about: descriptions(), defaults: true}
	return s, r.object("", s, reflect.ValueOf(Default()))
}

// refiner adds to a schema what the types alone do not tell: every key may be left out; its description, default and rules.
type refiner struct {
	about    map[string]string
	defaults bool // off where leaving a key out means something else than its zero value
}

func (r refiner) object(path string, s *jsonschema.Schema, v reflect.Value) error {
	if r.defaults {
		s.Required = nil
	}
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		name := join(path, jsonName(tag))
		if err := r.key(name, s.Properties[jsonName(tag)], v.Field(i)); err != nil {
			return err
		}
		if err := r.rules(s.Properties[jsonName(tag)], tag.Get("validate"), v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

func (r refiner) key(path string, s *jsonschema.Schema, v reflect.Value) error {
	s.Description = r.about[path]
	dropNull(s)
	if v.Kind() == reflect.Struct {
		return r.object(path, s, v)
	}
	if r.defaults {
		text, err := toJSON(v)
		if err != nil {
			return err
		}
		s.Default = text
	}
	if v.Type() == reflect.TypeFor[map[string]Override]() {
		s.PropertyNames = &jsonschema.Schema{Pattern: moduleName.String()}
		return refiner{about: r.about}.object(path+".*", s.AdditionalProperties, reflect.ValueOf(Override{}))
	}
	if v.Type() == reflect.TypeFor[[]OIDC]() {
		return refiner{about: r.about}.object(path+".*", s.Items, reflect.ValueOf(OIDC{}))
	}
	return nil
}

// dropNull removes the null that the library adds to whatever may be nil in Go: config.yaml has no use for it.
func dropNull(s *jsonschema.Schema) {
	if len(s.Types) == 2 { // "null" and the type
		s.Type, s.Types = s.Types[1], nil
	}
	for _, below := range []*jsonschema.Schema{s.Items, s.AdditionalProperties} {
		if below != nil {
			dropNull(below)
		}
	}
}

func (r refiner) rules(s *jsonschema.Schema, tags string, v reflect.Value) error {
	for tag := range strings.SplitSeq(tags, ",") {
		name, param, _ := strings.Cut(tag, "=")
		if pattern, known := patterns()[name]; known {
			s.Pattern = pattern
		}
		switch name {
		case "oneof":
			for _, word := range strings.Fields(param) {
				s.Enum = append(s.Enum, word)
			}
		case "claim_value":
			s.PropertyNames = &jsonschema.Schema{Pattern: trimmed}
		case "role":
			s.AdditionalProperties.Items.Pattern = roleName.String()
		case "scope":
			s.Items.Pattern = scopeToken.String()
		case "min", "max":
			if isDuration(v.Type()) {
				continue // it is text in the file, and JSON Schema compares no texts
			}
			limit, err := strconv.ParseFloat(param, 64)
			if err != nil {
				return err
			}
			if name == "min" {
				s.Minimum = &limit
			} else {
				s.Maximum = &limit
			}
		}
	}
	return nil
}

// trimmed matches a text that is not empty, and neither begins nor ends with a space.
const trimmed = `^\S(.*\S)?$`

// patterns are what texts must match by their rule, as far as a pattern can tell.
func patterns() map[string]string {
	return map[string]string{
		"size": `^[0-9]+(B|KiB|MiB|GiB)$`, "postgres_url": `^$|^postgres(ql)?://`, "redis_url": `^$|^(rediss?|unix)://`,
		"broker_url": `^$|^amqps?://`,
		"provider":   providerName.String(), "issuer_url": `^https?://`, "client_id": trimmed,
	}
}

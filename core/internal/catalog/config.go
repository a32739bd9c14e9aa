package catalog

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/platformd/platformd/plugin-api/wire/guard"
)

// maxSchema is the largest schema of a configuration that is read, in bytes.
const maxSchema = 256 << 10

// takeConfigSchema reads and compiles the schema that the manifest names, if it does. dir is the real path of the module's
// folder.
func (m *Module) takeConfigSchema(dir string) error {
	if m.Manifest.Config == nil {
		return nil
	}
	name := filepath.FromSlash(m.Manifest.Config.Schema)
	data, err := readInside(dir, filepath.Join(dir, name))
	if err == nil {
		m.config, err = compile(data)
	}
	if err != nil {
		shown := filepath.Join(m.Dir, name)
		message, _ := firstMessage(err)
		return &Error{Code: "bad_config_schema", Err: err,
			Message: fmt.Sprintf("the schema of the config, %s: %s", shown, message),
			Fix:     "make it a JSON Schema (draft 2020-12 or 07), or correct config.schema in its " + manifestFile}
	}
	m.ConfigSchema = data
	m.note(name, data)
	return nil
}

func readInside(dir, path string) ([]byte, error) {
	target, err := inside(dir, path)
	if err != nil {
		return nil, err
	}
	f, err := openRegular(target)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSchema+1))
	if err == nil && len(data) > maxSchema {
		err = fmt.Errorf("it is larger than %d KiB", maxSchema>>10)
	}
	return data, err
}

func compile(data []byte) (*jsonschema.Resolved, error) {
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	if err := checkExpansion(tree); err != nil {
		return nil, err
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("it is not a JSON Schema: %w", err)
	}
	resolved, err := s.Resolve(nil)
	if err != nil {
		return nil, fmt.Errorf("it is not a JSON Schema: %w", err)
	}
	return resolved, nil
}

// ValidateConfig checks what the operator configures for the module, and returns it as JSON with sorted keys. nil stands
// for {}. A module without a schema takes no configuration. Errors name places, never values: those may be secrets.
func (m *Module) ValidateConfig(raw map[string]any) ([]byte, error) {
	name := m.Manifest.Name
	if m.config == nil && len(raw) > 0 {
		return nil, &Error{Code: "config_not_accepted", Message: fmt.Sprintf("the module %s takes no config", name),
			Fix: fmt.Sprintf("remove modules.overrides.%s.config from config.yaml", name)}
	}
	if raw == nil {
		raw = map[string]any{}
	}
	data, err := json.Marshal(raw)
	if err != nil {
		return nil, badConfig(name, "it cannot be written as JSON", err)
	}
	if m.config == nil {
		return data, nil
	}
	var plain any // as JSON would have it: no integer types, no types of ours
	if err := json.Unmarshal(data, &plain); err != nil {
		return nil, badConfig(name, "it cannot be read as JSON", err)
	}
	if err := m.config.Validate(plain); err != nil {
		return nil, badConfig(name, guard.WithoutValues(err), nil)
	}
	return data, nil
}

func badConfig(name, message string, err error) *Error {
	return &Error{Code: "bad_config", Err: err, Message: fmt.Sprintf("the config of the module %s: %s", name, message),
		Fix: fmt.Sprintf("correct modules.overrides.%s.config in config.yaml", name)}
}

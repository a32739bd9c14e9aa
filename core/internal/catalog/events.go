package catalog

import (
	"fmt"
	"path/filepath"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/platformd/platformd/plugin-api/wire/guard"
)

// takeEventSchemas reads and compiles the schemas of the events that the module publishes. dir is the real path of its folder.
func (m *Module) takeEventSchemas(dir string) (err error) {
	m.Publishing, err = guard.NewPublishing(m.Manifest, func(path string) (*jsonschema.Resolved, error) {
		name := filepath.FromSlash(path)
		data, err := readInside(dir, filepath.Join(dir, name))
		if err == nil {
			var schema *jsonschema.Resolved
			if schema, err = compile(data); err == nil {
				m.note(name, data)
				return schema, nil
			}
		}
		message, _ := firstMessage(err)
		return nil, &Error{Code: "bad_event_schema", Err: err,
			Message: fmt.Sprintf("the schema of an event, %s: %s", filepath.Join(m.Dir, name), message),
			Fix:     "make it a JSON Schema (draft 2020-12 or 07), or correct events.publishes in its " + manifestFile}
	})
	return err
}

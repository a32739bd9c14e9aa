package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"regexp"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/event"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/problem"
)

// Publishing is what one module may publish, by its manifest. It is safe for concurrent use; nil lets nothing pass.
type Publishing struct {
	module string
	// declared has the schema of each version of each type; nil where the data is not described.
	declared map[string]map[int]*jsonschema.Resolved
}

// NewPublishing reads each schema that the manifest names, once. read returns one by its path relative to the module's folder.
func NewPublishing(m *manifest.Manifest, read func(path string) (*jsonschema.Resolved, error)) (*Publishing, error) {
	p := &Publishing{module: m.Name, declared: map[string]map[int]*jsonschema.Resolved{}}
	known := map[string]*jsonschema.Resolved{"": nil}
	for _, publication := range m.Events.Publishes {
		schema, ok := known[publication.Schema]
		if !ok {
			var err error
			if schema, err = read(publication.Schema); err != nil {
				return nil, err
			}
			known[publication.Schema] = schema
		}
		if p.declared[publication.Type] == nil {
			p.declared[publication.Type] = map[int]*jsonschema.Resolved{}
		}
		p.declared[publication.Type][int(publication.Version)] = schema
	}
	return p, nil
}

// Admit returns the event as the module may publish it: with the module as its source, whatever it says, and with what it left
// out. Errors are gRPC's: PERMISSION_DENIED for a type that the manifest does not declare, INVALID_ARGUMENT for an event that is
// none, a version that is not declared, and data that does not fit its schema.
func (p *Publishing) Admit(e event.Event, traceParent string) (event.Event, error) {
	if p == nil {
		return e, status.Error(codes.PermissionDenied, "this module publishes nothing")
	}
	e.Source = event.SourceOf(p.module)
	e = e.Stamped(traceParent)
	var bad *problem.Problem
	if err := e.Check(); errors.As(err, &bad) {
		return e, status.Error(codes.InvalidArgument, bad.Detail)
	}
	versions := p.declared[e.Type]
	if versions == nil {
		return e, status.Errorf(codes.PermissionDenied, "module %s may not publish %s (fix: declare it under events.publishes in its "+
			"module.yaml)", p.module, e.Type)
	}
	schema, ok := versions[e.Version]
	if !ok {
		return e, status.Errorf(codes.InvalidArgument, "module %s does not declare version %d of %s (fix: publish one that is under "+
			"events.publishes in its module.yaml, or declare it)", p.module, e.Version, e.Type)
	}
	if err := fits(e, schema); err != nil {
		return e, status.Errorf(codes.InvalidArgument, "the data of %s version %d %v", e.Type, e.Version, err)
	}
	return e, nil
}

// fits looks at the data, which may be nothing at all if no schema says otherwise.
func fits(e event.Event, schema *jsonschema.Resolved) error {
	switch {
	case schema == nil && (!isJSON(e.ContentType) || len(e.Data) == 0 || json.Valid(e.Data)):
		return nil
	case !isJSON(e.ContentType):
		return fmt.Errorf("is %s, and module.yaml says that it has a JSON Schema (fix: send JSON)", e.ContentType)
	}
	var value any
	if err := json.Unmarshal(e.Data, &value); err != nil {
		return fmt.Errorf("is not JSON: %w (fix: send JSON, or name another content type)", err)
	}
	if schema == nil {
		return nil
	}
	if err := schema.Validate(value); err != nil {
		return fmt.Errorf("does not fit its schema: %s (fix: correct it, or declare a new version)", WithoutValues(err))
	}
	return nil
}

func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == event.JSON || strings.HasSuffix(media, "+json"))
}

var (
	validating = regexp.MustCompile(`^validating (\S+): `)
	keyword    = regexp.MustCompile(`^([a-zA-Z]+)(\[|:)`)
	harmless   = regexp.MustCompile(`^(required|dependentRequired|unexpected additional|minItems|maxItems)\b`)
)

// WithoutValues takes from an error of a JSON Schema's validation the place in the schema and the keyword. Most keywords'
// messages go on with the offending value, which is not for everybody who reads the error.
func WithoutValues(err error) string {
	text, place := err.Error(), "root"
	for found := validating.FindStringSubmatch(text); found != nil; found = validating.FindStringSubmatch(text) {
		place, text = found[1], strings.TrimPrefix(text, found[0])
	}
	if harmless.MatchString(text) { // it names keys, or counts
		return fmt.Sprintf("at %s: %s", place, text)
	}
	if found := keyword.FindStringSubmatch(text); found != nil {
		return fmt.Sprintf("at %s: the value does not satisfy the schema's `%s`", place, found[1])
	}
	return fmt.Sprintf("at %s: the value does not satisfy the schema", place)
}

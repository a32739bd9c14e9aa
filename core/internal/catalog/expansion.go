package catalog

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

const (
	// maxExpansion is how many schemas may apply to one value.
	maxExpansion = 10_000
	// maxDepth is how deep a schema may be nested; the library's time grows with its cube.
	maxDepth = 128
)

// checkExpansion refuses a schema that would never be done with a value, or not in our lifetime: one that refers to itself
// without going into the value, multiplies by references, or is nested without end. The library would follow it, to the
// end of the stack and of the process.
func checkExpansion(tree any) error {
	return (&expander{root: tree, known: map[string]int{}}).walk(tree)
}

type expander struct {
	root  any
	depth int
	known map[string]int // by reference; unfinished while it is being counted
}

const unfinished = -1

// walk checks everything in the tree that looks like a schema.
func (e *expander) walk(tree any) error {
	var children []any
	switch t := tree.(type) {
	case map[string]any:
		children = slices.Collect(maps.Values(t))
		if err := e.check(t); err != nil {
			return err
		}
	case []any:
		children = t
	}
	if e.depth > maxDepth {
		return fmt.Errorf("it is nested deeper than %d levels", maxDepth)
	}
	for _, child := range children {
		e.depth++
		if err := e.walk(child); err != nil {
			return err
		}
		e.depth--
	}
	return nil
}

func (e *expander) check(s map[string]any) error {
	_, dynamic := s["$dynamicRef"].(string)
	_, id := s["$id"].(string)
	if dynamic || id && e.depth > 0 {
		return errors.New("$dynamicRef and $id within the schema are not supported: use $ref with #/$defs/NAME")
	}
	_, err := e.count(s)
	return err
}

// count returns how many schemas apply to one value because s does.
func (e *expander) count(schema any) (total int, err error) {
	s, _ := schema.(map[string]any) // the other kind is true or false, which applies alone
	total = 1
	for _, child := range inPlace(s) {
		n, err := e.count(child)
		if total += n; err != nil {
			return 0, err
		}
	}
	if ref, refers := s["$ref"].(string); refers {
		n, err := e.follow(ref)
		if total += n; err != nil {
			return 0, err
		}
	}
	if total > maxExpansion {
		return 0, fmt.Errorf("it applies more than %d schemas to one value", maxExpansion)
	}
	return total, nil
}

// inPlace returns the schemas in s that apply to the same value as s.
func inPlace(s map[string]any) []any {
	var children []any
	for _, key := range []string{"not", "if", "then", "else"} {
		if child, given := s[key]; given {
			children = append(children, child)
		}
	}
	for _, key := range []string{"allOf", "anyOf", "oneOf"} {
		list, _ := s[key].([]any)
		children = append(children, list...)
	}
	for _, key := range []string{"dependentSchemas", "dependencies"} {
		named, _ := s[key].(map[string]any)
		children = slices.AppendSeq(children, maps.Values(named))
	}
	return children
}

func (e *expander) follow(ref string) (int, error) {
	known, begun := e.known[ref]
	if known == unfinished {
		return 0, fmt.Errorf("the reference %s leads back to itself", ref)
	}
	if begun {
		return known, nil
	}
	target, err := e.lookup(ref)
	if err != nil {
		return 0, err
	}
	e.known[ref] = unfinished
	e.known[ref], err = e.count(target)
	return e.known[ref], err
}

// lookup finds what a reference means. Only places in the same file are supported: "#" and "#/$defs/NAME".
func (e *expander) lookup(ref string) (any, error) {
	fragment, inFile := strings.CutPrefix(ref, "#")
	pointer, err := url.PathUnescape(fragment)
	if !inFile || err != nil || (pointer != "" && !strings.HasPrefix(pointer, "/")) {
		return nil, fmt.Errorf("the reference %q does not lead to a place in this file: write #/$defs/NAME", ref)
	}
	at := e.root
	for _, part := range strings.Split(pointer, "/")[1:] {
		s, _ := at.(map[string]any)
		at = s[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	if at == nil {
		return nil, fmt.Errorf("the reference %q leads nowhere in this file: write #/$defs/NAME", ref)
	}
	return at, nil
}

package manifest

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/platformd/platformd/plugin-api/nearest"
)

// decoder copies a YAML tree into the types by their json tags. It collects what is wrong instead of stopping, and notes
// the line of every value, which yaml.v3's own decoding can do neither.
type decoder struct {
	errs      Errors
	lines     map[string]int // by field, as in Error.Field
	aliasLine int            // the last line whose alias has been refused
}

// inspect refuses anchors, aliases, tags and duplicate keys anywhere in the tree, even below keys that are unknown.
func (d *decoder) inspect(n *yaml.Node) {
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		d.alias(n.Line)
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.errs = append(d.errs, &Error{Line: n.Line, Code: "tag",
			Message: fmt.Sprintf("the tag %q is not allowed in a manifest", n.Tag),
			Fix:     "remove the tag; quote the value if it is text"})
	}
	if n.Kind == yaml.MappingNode {
		d.duplicates(n)
	}
	for _, child := range n.Content {
		d.inspect(child)
	}
}

// alias complains once per line: a bomb has thousands of them.
func (d *decoder) alias(line int) {
	if line != d.aliasLine {
		d.aliasLine = line
		d.errs = append(d.errs, aliasError(line))
	}
}

func (d *decoder) duplicates(n *yaml.Node) {
	first := make(map[string]int, len(n.Content)/2)
	for key := range pairs(n) {
		if line, found := first[key.Value]; !found {
			first[key.Value] = key.Line
		} else if key.Kind == yaml.ScalarNode {
			d.errs = append(d.errs, &Error{Line: key.Line, Code: "duplicate_key",
				Message: fmt.Sprintf("the key %q is already on line %d", key.Value, line),
				Fix:     "remove one of the two"})
		}
	}
}

// pairs yields the keys and values of a mapping.
func pairs(n *yaml.Node) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// decode copies n into the addressable value into; field is its place.
func (d *decoder) decode(field string, n *yaml.Node, into reflect.Value) {
	if n.Kind == yaml.AliasNode {
		return // inspect has complained
	}
	if isNull(n) || (n.Kind == yaml.ScalarNode && n.Value == "") {
		d.errs.add(field, "no_value", fmt.Sprintf("%s has no value", label(field)), "give it a value, or remove it")
		return
	}
	if text, ok := into.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(field, n, text)
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.decode(field, n, into.Elem())
	case reflect.Struct:
		d.object(field, n, into)
	case reflect.Map:
		d.table(field, n, into)
	case reflect.Slice:
		d.list(field, n, into)
	default:
		d.scalar(field, n, into)
	}
}

// wants reports whether n has the YAML tag, and complains if not.
func (d *decoder) wants(field string, n *yaml.Node, tag string) bool {
	if n.ShortTag() == tag {
		return true
	}
	want := map[string]string{"!!map": "a block of keys and values", "!!seq": "a list", "!!str": "text",
		"!!bool": "true or false", "!!int": "a number"}[tag]
	fix := "write " + want
	if n.Kind == yaml.ScalarNode && tag == "!!str" {
		fix = fmt.Sprintf("write it in quotes: %q", n.Value)
	}
	d.errs.add(field, "bad_type", fmt.Sprintf("%s must be %s", label(field), want), fix)
	return false
}

func label(field string) string {
	if field == "" {
		return "the manifest"
	}
	return "`" + field + "`"
}

func (d *decoder) object(field string, n *yaml.Node, into reflect.Value) {
	if !d.wants(field, n, "!!map") {
		return
	}
	known, present := keys(into.Type()), map[string]bool{}
	for key, value := range pairs(n) {
		child := join(field, key.Value)
		d.lines[child] = key.Line
		i, found := known.index[key.Value]
		if !found || key.Kind != yaml.ScalarNode {
			d.unknown(child, key, known.names)
			continue
		}
		present[key.Value] = true
		d.decode(child, value, into.Field(i))
	}
	for _, name := range known.required {
		if !present[name] {
			d.errs.add(join(field, name), "missing_key", fmt.Sprintf("%s has no `%s`", label(field), name),
				"add a line that begins with "+name+":")
		}
	}
}

func (d *decoder) unknown(field string, key *yaml.Node, names []string) {
	if near := nearest.Names(key.Value, names); len(near) > 0 {
		d.errs.add(field, "unknown_key", fmt.Sprintf("unknown key %q; did you mean %q?", key.Value, near[0]),
			fmt.Sprintf("rename it to %s, or remove it", near[0]))
		return
	}
	d.errs.add(field, "unknown_key", fmt.Sprintf("unknown key %q", key.Value),
		"remove it, or use one of: "+strings.Join(names, ", "))
}

func (d *decoder) table(field string, n *yaml.Node, into reflect.Value) {
	if !d.wants(field, n, "!!map") || len(n.Content) == 0 {
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for key, value := range pairs(n) {
		child := join(field, key.Value)
		d.lines[child] = key.Line
		if !d.wants(child, key, "!!str") {
			continue
		}
		slot := reflect.New(into.Type().Elem()).Elem()
		d.decode(child, value, slot)
		into.SetMapIndex(reflect.ValueOf(key.Value), slot)
	}
}

func (d *decoder) list(field string, n *yaml.Node, into reflect.Value) {
	if !d.wants(field, n, "!!seq") || len(n.Content) == 0 {
		return
	}
	into.Set(reflect.MakeSlice(into.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		child := fmt.Sprintf("%s[%d]", field, i)
		d.lines[child] = item.Line
		d.decode(child, item, into.Index(i))
	}
}

func (d *decoder) scalar(field string, n *yaml.Node, into reflect.Value) {
	switch into.Kind() {
	case reflect.Bool:
		if d.wants(field, n, "!!bool") {
			into.SetBool(strings.EqualFold(n.Value, "true"))
		}
	case reflect.Int:
		if d.wants(field, n, "!!int") {
			d.integer(field, n, into)
		}
	case reflect.Float64:
		if n.ShortTag() == "!!float" || d.wants(field, n, "!!int") {
			d.float(field, n.Value, into)
		}
	default:
		if d.wants(field, n, "!!str") {
			into.SetString(n.Value)
		}
	}
}

func (d *decoder) integer(field string, n *yaml.Node, into reflect.Value) {
	i, err := strconv.Atoi(n.Value)
	if err != nil {
		d.errs.add(field, "bad_type", fmt.Sprintf("%s: %s is not a decimal number in range", label(field), n.Value),
			"write it in decimal digits alone, for example 5")
		return
	}
	into.SetInt(int64(i))
}

// text hands a scalar to a type that reads itself. A bare number is let through, so that the type can ask for a unit.
func (d *decoder) text(field string, n *yaml.Node, into encoding.TextUnmarshaler) {
	if tag := n.ShortTag(); tag != "!!int" && tag != "!!float" && !d.wants(field, n, "!!str") {
		return
	}
	var bad *Error
	if err := into.UnmarshalText([]byte(n.Value)); errors.As(err, &bad) {
		d.errs.add(field, bad.Code, label(field)+": "+bad.Message, bad.Fix)
	}
}

// fields describes the keys of a struct.
type fields struct {
	names, required []string
	index           map[string]int
}

// keys reads the json tags of a struct type. A field without omitempty or omitzero is required, as in the schema.
func keys(t reflect.Type) fields {
	known := fields{index: map[string]int{}}
	for i := range t.NumField() {
		name, option, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		known.index[name] = i
		known.names = append(known.names, name)
		if option == "" {
			known.required = append(known.required, name)
		}
	}
	return known
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

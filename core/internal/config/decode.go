package config

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/platformd/platformd/plugin-api/nearest"
)

// decoder copies a YAML tree into the types by their json tags. It collects what is wrong instead of stopping, and notes
// where each value came from, which yaml.v3's own decoding can do neither. It prints no value that may be secret.
type decoder struct {
	source  func(line int) string
	env     map[string]string // for ${VAR}; nil: text is taken as it is
	origins origins
	errs    Errors
}

func (d *decoder) fail(path string, n *yaml.Node, f *fault) {
	d.errs = append(d.errs, f.at(d.source(n.Line), dotted(path)))
}

var mapKey = regexp.MustCompile(`\[([^\]]*[^\]0-9][^\]]*)\]`)

// dotted turns modules.overrides[blog].enabled into modules.overrides.blog.enabled, and leaves indexes of lists alone.
func dotted(path string) string { return mapKey.ReplaceAllString(path, ".$1") }

// decode copies n into the settable value into.
func (d *decoder) decode(path string, n *yaml.Node, into reflect.Value) {
	d.origins[path] = d.source(n.Line)
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.decode(path, n, into.Elem())
	case reflect.Struct:
		d.object(path, n, into)
	case reflect.Map:
		d.table(path, n, into)
	case reflect.Slice:
		d.list(path, n, into)
	case reflect.Interface:
		d.anything(path, n, into)
	default:
		d.scalar(path, n, into)
	}
}

// collection reports whether n is of the kind and has something in it, and complains if it is of another kind. A section
// with nothing below it keeps its defaults: that is what is left when all of its keys are comments.
func (d *decoder) collection(path string, n *yaml.Node, kind yaml.Kind) bool {
	if n.Kind == kind || isNull(n) {
		return len(n.Content) > 0
	}
	want := "a block of keys and values"
	if kind == yaml.SequenceNode {
		want = "a list"
	}
	d.fail(path, n, &fault{" must be " + want, "write " + want + " below the key", "bad_type"})
	return false
}

func (d *decoder) object(path string, n *yaml.Node, into reflect.Value) {
	if !d.collection(path, n, yaml.MappingNode) {
		return
	}
	index, names := map[string]int{}, []string{}
	for i := range into.NumField() {
		name := jsonName(into.Type().Field(i).Tag)
		index[name], names = i, append(names, name)
	}
	for key, value := range pairs(n) {
		if i, found := index[key.Value]; found {
			d.decode(join(path, key.Value), value, into.Field(i))
			continue
		}
		d.unknown(path, key, names)
	}
}

func (d *decoder) unknown(path string, key *yaml.Node, names []string) {
	where := "config.yaml"
	if path != "" {
		where = "`" + dotted(path) + "`"
	}
	e := &Error{Source: d.source(key.Line), Key: dotted(path), Code: "unknown_key",
		Message: fmt.Sprintf("unknown key %s in %s", display(key.Value), where),
		Fix:     "remove it, or use one of: " + strings.Join(names, ", ")}
	if near := nearest.Names(key.Value, names); len(near) > 0 {
		e.Message += fmt.Sprintf("; did you mean %q?", near[0])
		e.Fix = fmt.Sprintf("rename it to %s, or remove it", near[0])
	}
	d.errs = append(d.errs, e)
}

func (d *decoder) table(path string, n *yaml.Node, into reflect.Value) {
	into.SetZero()
	if !d.collection(path, n, yaml.MappingNode) {
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for key, value := range pairs(n) {
		item := reflect.New(into.Type().Elem()).Elem()
		d.decode(path+"["+key.Value+"]", value, item)
		into.SetMapIndex(reflect.ValueOf(key.Value), item)
	}
}

func (d *decoder) list(path string, n *yaml.Node, into reflect.Value) {
	into.SetZero()
	if !d.collection(path, n, yaml.SequenceNode) {
		return
	}
	into.Set(reflect.MakeSlice(into.Type(), len(n.Content), len(n.Content)))
	for i, value := range n.Content {
		d.decode(fmt.Sprintf("%s[%d]", path, i), value, into.Index(i))
	}
}

// scalar copies text, a number, a duration or a truth value.
func (d *decoder) scalar(path string, n *yaml.Node, into reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.fail(path, n, &fault{" must be a single value", "write one value after the key", "bad_type"})
		return
	}
	if isNull(n) {
		d.fail(path, n, &fault{" has no value", "give it a value, or remove it", "no_value"})
		return
	}
	text, bad := d.expanded(n)
	if bad == nil {
		bad = quoting(n, into, text != n.Value)
	}
	if bad == nil {
		bad = assign(into, text)
	}
	if bad != nil {
		d.fail(path, n, bad)
	}
}

// quoting holds the file to YAML's own difference between text and everything else. What ${VAR} stood for may be either.
func quoting(n *yaml.Node, into reflect.Value, expanded bool) *fault {
	isText := n.ShortTag() == "!!str"
	switch {
	case into.Kind() == reflect.String && !isText:
		return &fault{" must be text", "put the value in quotes", "bad_type"}
	case slices.Contains([]reflect.Kind{reflect.Int, reflect.Float64, reflect.Bool}, into.Kind()) && n.Style != 0 && !expanded:
		return &fault{" must not be text", "remove the quotes", "bad_type"}
	}
	return nil
}

func (d *decoder) expanded(n *yaml.Node) (string, *fault) {
	if d.env == nil || n.ShortTag() != "!!str" {
		return n.Value, nil
	}
	return expand(n.Value, d.env)
}

// anything copies a part of a module's configuration, as JSON values.
func (d *decoder) anything(path string, n *yaml.Node, into reflect.Value) {
	switch n.Kind {
	case yaml.MappingNode:
		table := map[string]any{}
		for key, value := range pairs(n) {
			var item any
			d.decode(path+"["+key.Value+"]", value, reflect.ValueOf(&item).Elem())
			table[key.Value] = item
		}
		into.Set(reflect.ValueOf(table))
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, value := range n.Content {
			d.decode(fmt.Sprintf("%s[%d]", path, i), value, reflect.ValueOf(&list[i]).Elem())
		}
		into.Set(reflect.ValueOf(list))
	default:
		d.atom(path, n, into)
	}
}

// atom copies null, a number, a truth value or text. What YAML takes for a date is text, since JSON has no dates.
func (d *decoder) atom(path string, n *yaml.Node, into reflect.Value) {
	var value any
	switch n.ShortTag() {
	case "!!null":
		return
	case "!!bool", "!!int", "!!float":
		if err := n.Decode(&value); err != nil {
			d.fail(path, n, &fault{" is not a number", "put the value in quotes", "bad_type"})
			return
		}
	default:
		text, bad := d.expanded(n)
		if bad != nil {
			d.fail(path, n, bad)
			return
		}
		value = text
	}
	if f, isFloat := value.(float64); isFloat && (math.IsInf(f, 0) || math.IsNaN(f)) {
		d.fail(path, n, &fault{" is not a finite number", "put the value in quotes, or write a number", "bad_type"})
		return
	}
	into.Set(reflect.ValueOf(value))
}

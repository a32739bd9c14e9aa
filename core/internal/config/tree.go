package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// tree returns the root of the one document in data, or nil if there is nothing in it.
func tree(data []byte, source func(line int) string) (*yaml.Node, *Error) {
	if line, message := badText(data); message != "" {
		return nil, &Error{Source: source(line), Message: message, Code: "bad_encoding",
			Fix: "save the file as plain UTF-8 text without a byte order mark"}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, syntaxError(err, data, source)
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		return nil, &Error{Source: source(second.Line), Message: "a second YAML document begins here", Code: "second_document",
			Fix: "keep one document in the file: remove the --- line and what follows it"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(err, data, source)
	}
	return doc.Content[0], nil
}

// badText finds what YAML forbids or silently skips, and its line, which yaml.v3 does not tell.
func badText(data []byte) (line int, message string) {
	line = 1
	for rest := data; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			return line, "there is a byte that is not UTF-8"
		case r == '\uFEFF':
			return line, "there is a byte order mark"
		case unicode.IsControl(r) && !strings.ContainsRune("\t\n\r", r), r == '\uFFFE', r == '\uFFFF':
			return line, fmt.Sprintf("there is a control character, %U", r)
		case r == '\n':
			line++
		}
		rest = rest[size:]
	}
	return 0, ""
}

var (
	yamlLine     = regexp.MustCompile(`^yaml: line (\d+): (.*)`)
	unknownAlias = regexp.MustCompile(`^yaml: unknown anchor '(.*)' referenced`)
)

// syntaxError translates what yaml.v3 says. It never repeats the name of an alias: a password may begin with *.
func syntaxError(err error, data []byte, source func(line int) string) *Error {
	if found := unknownAlias.FindStringSubmatch(err.Error()); found != nil {
		before, _, _ := bytes.Cut(data, []byte("*"+found[1]))
		return aliasError(source(1 + bytes.Count(before, []byte("\n"))))
	}
	line, message := 1, strings.TrimPrefix(err.Error(), "yaml: ")
	if found := yamlLine.FindStringSubmatch(err.Error()); found != nil {
		line, _ = strconv.Atoi(found[1]) // the pattern allows digits only
		message = found[2]
	}
	return &Error{Source: source(max(1, line)), Message: "this is not YAML: " + message, Code: "bad_yaml",
		Fix: "correct the syntax here or on the line before; mind the indentation and quote text that has : # { or } in it"}
}

func aliasError(source string) *Error {
	return &Error{Source: source, Message: "anchors (&name) and aliases (*name) are not allowed", Code: "alias",
		Fix: "write the value out in each place; quote it if the & or * belongs to the text"}
}

// inspect refuses, anywhere in the tree, what no configuration may use: aliases, tags, duplicate keys and keys that are
// no text.
func (d *decoder) inspect(n *yaml.Node) {
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		d.errs = append(d.errs, aliasError(d.source(n.Line)))
		return
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.errs = append(d.errs, &Error{Source: d.source(n.Line), Message: "tags (!name) are not allowed", Code: "tag",
			Fix: "remove the tag; quote the value if the ! belongs to it"})
	}
	if n.Kind == yaml.MappingNode {
		d.inspectKeys(n)
	}
	for _, child := range n.Content {
		d.inspect(child)
	}
}

func (d *decoder) inspectKeys(n *yaml.Node) {
	first := make(map[string]int, len(n.Content)/2)
	for key := range pairs(n) {
		line, found := first[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str":
			d.errs = append(d.errs, &Error{Source: d.source(key.Line), Message: "a key must be text", Code: "bad_key",
				Fix: "put the key in quotes"})
		case found:
			d.errs = append(d.errs, &Error{Source: d.source(key.Line), Code: "duplicate_key",
				Message: fmt.Sprintf("the key %s is already on line %d", display(key.Value), line), Fix: "remove one of the two"})
		default:
			first[key.Value] = key.Line
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

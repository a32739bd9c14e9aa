package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Load reads and parses the module.yaml at path. It refuses whatever is not a regular file, without waiting for it. The
// error is an Errors.
func Load(path string) (*Manifest, error) {
	data, err := readRegular(path)
	if err != nil {
		return nil, Errors{err}
	}
	return Parse(path, data)
}

func readRegular(path string) ([]byte, *Error) {
	// A FIFO would block an ordinary open until somebody writes to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, unreadable(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, &Error{File: path, Code: "not_a_file",
			Message: "this is not a regular file but " + info.Mode().Type().String(),
			Fix:     "put the manifest there as an ordinary file"}
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	return data, nil
}

func unreadable(path string, err error) *Error {
	return &Error{File: path, Code: "unreadable", Message: "read manifest: " + err.Error(), cause: err,
		Fix: "check that the file is there and that platformd may read it"}
}

// Parse decodes and validates a module.yaml, and fills in the defaults. file is only named in errors. The error is an
// Errors that holds everything that is wrong, not only the first thing.
func Parse(file string, data []byte) (*Manifest, error) {
	root, bad := tree(data)
	if bad != nil {
		bad.File = file
		return nil, Errors{bad}
	}
	m := &Manifest{}
	d := decoder{lines: map[string]int{"": root.Line}}
	d.inspect(root)
	d.decode("", root, reflect.ValueOf(m).Elem())
	m.fillDefaults()
	errs := d.errs
	if d.aliasLine == 0 { // where aliases stood, values are missing, and the rules would complain about that
		errs = append(errs, m.problems().without(d.errs)...)
	}
	if len(errs) > 0 {
		errs.locate(file, d.lines)
		return nil, errs
	}
	return m, nil
}

// tree checks the bytes and returns the root of the one document in them.
func tree(data []byte) (*yaml.Node, *Error) {
	if len(data) > MaxSize {
		return nil, &Error{Line: 1, Code: "too_large",
			Message: fmt.Sprintf("the manifest is larger than %d KiB", MaxSize>>10),
			Fix:     "keep data out of the manifest: it names what a module offers and needs, nothing else"}
	}
	if bad := checkText(data); bad != nil {
		return nil, bad
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	doc, bad := next(dec, data)
	if bad != nil {
		return nil, bad
	}
	if doc == nil || isNull(doc.Content[0]) {
		return nil, &Error{Line: 1, Code: "empty", Message: "the manifest is empty",
			Fix: "begin with apiVersion: " + APIVersion + ", name and version"}
	}
	second, bad := next(dec, data)
	if bad == nil && second != nil {
		bad = &Error{Line: second.Line, Code: "second_document", Message: "a second YAML document begins here",
			Fix: "keep one document in a manifest: remove the --- line and what follows it"}
	}
	return doc.Content[0], bad
}

// checkText refuses what YAML forbids or silently skips, with its line, which yaml.v3 does not tell.
func checkText(data []byte) *Error {
	line := 1
	for rest := data; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			return badEncoding(line, "there is a byte that is not UTF-8")
		case r == '\uFEFF':
			return badEncoding(line, "there is a byte order mark")
		case unicode.IsControl(r) && !strings.ContainsRune("\t\n\r", r), r == '\uFFFE', r == '\uFFFF':
			return badEncoding(line, fmt.Sprintf("there is a control character, %U", r))
		case r == '\n':
			line++
		}
		rest = rest[size:]
	}
	return nil
}

func badEncoding(line int, message string) *Error {
	return &Error{Line: line, Code: "bad_encoding", Message: message,
		Fix: "save the file as plain UTF-8 text without a byte order mark"}
}

// next returns the next document, or nil at the end of the stream.
func next(dec *yaml.Decoder, data []byte) (doc *yaml.Node, bad *Error) {
	defer func() {
		// yaml.v3 is archived and panics on input that it takes for its own mistake; here it is the file's.
		if r := recover(); r != nil {
			doc, bad = nil, badYAML(1, fmt.Sprint(r))
		}
	}()
	var node yaml.Node
	err := dec.Decode(&node)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, syntaxError(err, data)
	}
	return &node, nil
}

var (
	yamlLine     = regexp.MustCompile(`^yaml: line (\d+): (.*)`)
	unknownAlias = regexp.MustCompile(`^yaml: unknown anchor '(.*)' referenced`)
	// parserMistake matches the messages of yaml.v3's parser, which counts lines from 0; its scanner counts from 1.
	parserMistake = regexp.MustCompile(`^did not find expected (<|node|key|'-'|',')`)
)

func syntaxError(err error, data []byte) *Error {
	if found := unknownAlias.FindStringSubmatch(err.Error()); found != nil {
		before, _, _ := bytes.Cut(data, []byte("*"+found[1]))
		return aliasError(1 + bytes.Count(before, []byte("\n")))
	}
	if found := yamlLine.FindStringSubmatch(err.Error()); found != nil {
		line, _ := strconv.Atoi(found[1]) // the pattern allows digits only
		if parserMistake.MatchString(found[2]) {
			line++
		}
		return badYAML(line, found[2])
	}
	return badYAML(1, strings.TrimPrefix(err.Error(), "yaml: "))
}

func badYAML(line int, message string) *Error {
	return &Error{Line: max(1, line), Code: "bad_yaml", Message: "this is not YAML: " + message,
		Fix: "correct the syntax here or in the block that begins here; mind the indentation, and quote text with : or # in it"}
}

func aliasError(line int) *Error {
	return &Error{Line: line, Code: "alias", Message: "anchors (&name) and aliases (*name) are not allowed in a manifest",
		Fix: "write the value out in each place; quote it if the & or * belongs to the text"}
}

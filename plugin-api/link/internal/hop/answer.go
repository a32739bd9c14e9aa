package hop

import (
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Field is one header of an answer. Name is in canonical form.
type Field struct{ Name, Value string }

// Answer is the head of a module's answer, as far as it concerns the client. The zero value is empty; Reset makes it so
// again.
type Answer struct {
	Status int
	// Fields are the headers. Call Note for each that is added.
	Fields []Field
	// Length is the body's, in bytes; -1 if it is not known beforehand.
	Length int64
	// Events says that the body is a text/event-stream: each piece matters at once.
	Events bool

	options []string // the headers that are about the module's connection only, sorted
	trailer []string // the names of announced trailers, sorted
}

// Reset empties the answer and keeps its memory.
func (a *Answer) Reset() {
	clear(a.Fields)
	*a = Answer{Fields: a.Fields[:0], Length: -1, options: a.options[:0], trailer: a.trailer[:0]}
}

// Note takes from one header what it says about the answer.
func (a *Answer) Note(f Field) {
	switch f.Name {
	case "Connection":
		a.options = append(a.options, ConnectionOptions([]string{f.Value})...)
		slices.Sort(a.options)
	case "Trailer":
		a.noteTrailer(f.Value)
	case "Content-Type":
		a.Events = isEventStream(f.Value)
	}
}

func (a *Answer) noteTrailer(value string) {
	for name := range strings.SplitSeq(value, ",") {
		name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name))
		if httpguts.ValidHeaderFieldName(name) && AllowedTrailer(name) {
			a.trailer = append(a.trailer, name)
		}
	}
	slices.Sort(a.trailer)
}

func isEventStream(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(textproto.TrimString(media), "text/event-stream")
}

// BodyAllowed tells whether an answer with this status has a body, unless it answers HEAD.
func BodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// HasBody tells whether the answer to a request with the given method has a body.
func (a *Answer) HasBody(method string) bool {
	return method != http.MethodHead && BodyAllowed(a.Status)
}

// CopyTo writes the headers that travel on to the client into header. What is in it already is the core's and stays. With
// trailers, those that were announced are announced again.
func (a *Answer) CopyTo(header http.Header, trailers bool) {
	values := make([]string, 0, len(a.Fields)+2)
	set := func(name, value string) {
		values = append(values, value)
		header[name] = values[len(values)-1 : len(values) : len(values)]
	}
	var room [16]string
	own := ownNames(room[:0], header)
	for _, f := range a.Fields {
		if !a.forwarded(f.Name) || slices.Contains(own, f.Name) {
			continue
		}
		if earlier, again := header[f.Name]; again {
			header[f.Name] = append(earlier, f.Value)
		} else {
			set(f.Name, f.Value)
		}
	}
	if a.Length >= 0 {
		set("Content-Length", strconv.FormatInt(a.Length, 10))
	}
	if trailers && len(a.trailer) > 0 {
		set("Trailer", strings.Join(a.trailer, ", "))
	}
}

// ownNames appends the names that the core has set, which the module cannot change. To lists, both add.
func ownNames(names []string, header http.Header) []string {
	for name := range header {
		if name != "Vary" && name != "Set-Cookie" {
			names = append(names, name)
		}
	}
	return names
}

func (a *Answer) forwarded(name string) bool {
	return name != "Content-Length" && !AboutOneHop(name) && !Reserved(name) && !Listed(a.options, name)
}

// SetTrailers puts the fields where net/http looks for trailers: under their own name if announced, prefixed if not. The
// head must have been flushed: net/http looks for those that were not announced only when it ends a chunked body.
func (a *Answer) SetTrailers(header http.Header, fields []Field) {
	for _, name := range a.trailer {
		delete(header, name) // what the head said
	}
	for _, f := range fields {
		switch {
		case !AllowedTrailer(f.Name):
		case Listed(a.trailer, f.Name):
			header.Add(f.Name, f.Value)
		default:
			header.Add(http.TrailerPrefix+f.Name, f.Value)
		}
	}
}

// Hint sends an informational answer with the module's headers, and leaves those of the final answer as they were.
func (s *Watch) Hint(a *Answer) {
	w := Innermost(s.w) // wrappers such as gin's keep back every status
	header := w.Header()
	kept := maps.Clone(header)
	for _, f := range a.Fields {
		if _, own := kept[f.Name]; !own && a.forwarded(f.Name) {
			header.Add(f.Name, f.Value)
		}
	}
	s.ArmWrite()
	w.WriteHeader(a.Status)
	s.DisarmWrite()
	clear(header)
	maps.Copy(header, kept)
}

package http1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

var (
	errHeadTooLarge = fmt.Errorf("the module's headers exceed %d bytes", maxHead)
	errHeadSyntax   = errors.New("the module's answer is not HTTP/1.1")
)

type field struct{ name, value string } // name is in canonical form

// answer is the head of a module's answer. It is stricter than most clients: what is odd ends here, as 502.
type answer struct {
	status  int
	fields  []field
	length  int64 // of the body; -1 if it is chunked
	chunked bool
	close   bool // the module ends the connection after this answer
	events  bool // text/event-stream: each piece matters now
	upgrade string
	options []string // the headers that are about the connection only, sorted
	trailer []string // the names of announced trailers, sorted
}

// readBlock appends to dst the bytes up to and including the next blank line, or fails once dst would exceed maxHead.
func readBlock(reader *bufio.Reader, dst []byte) ([]byte, error) {
	for lineStart := len(dst); ; {
		part, err := reader.ReadSlice('\n')
		if len(dst)+len(part) > maxHead {
			return dst, errHeadTooLarge
		}
		dst = append(dst, part...)
		if err == bufio.ErrBufferFull { //nolint:errorlint // ReadSlice returns it bare; the line goes on
			continue
		}
		if err != nil {
			return dst, err
		}
		line := dst[lineStart:]
		if len(line) < 2 || line[len(line)-2] != '\r' {
			return dst, fmt.Errorf("%w: a line does not end in CRLF", errHeadSyntax)
		}
		if len(line) == 2 {
			return dst, nil
		}
		lineStart = len(dst)
	}
}

// parse reads the head in text, which ends with a blank line.
func (a *answer) parse(text, method string) error {
	*a = answer{fields: a.fields[:0], length: -1}
	line, rest, _ := strings.Cut(text, "\r\n")
	if err := a.parseStatus(line); err != nil {
		return err
	}
	fields, err := appendFields(a.fields, rest)
	if err != nil {
		return err
	}
	a.fields = fields
	for _, f := range a.fields {
		if err := a.note(f); err != nil {
			return err
		}
	}
	slices.Sort(a.options)
	slices.Sort(a.trailer)
	return a.settleFraming(method)
}

func (a *answer) parseStatus(line string) error {
	code, isHTTP := strings.CutPrefix(line, "HTTP/1.1 ")
	if !isHTTP {
		return errHeadSyntax
	}
	code, reason, _ := strings.Cut(code, " ")
	status, err := strconv.Atoi(code)
	if err != nil || len(code) != 3 || status < 100 || status > 599 || !httpguts.ValidHeaderFieldValue(reason) {
		return fmt.Errorf("%w: bad status line", errHeadSyntax)
	}
	a.status = status
	return nil
}

// appendFields parses header or trailer lines up to the blank one.
func appendFields(fields []field, text string) ([]field, error) {
	for {
		line, rest, _ := strings.Cut(text, "\r\n")
		if line == "" {
			return fields, nil
		}
		name, value, found := strings.Cut(line, ":")
		if !found || !httpguts.ValidHeaderFieldName(name) { // a folded line has no valid name either
			return nil, fmt.Errorf("%w: bad header line", errHeadSyntax)
		}
		value = textproto.TrimString(value)
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("%w: a control byte in header %s", errHeadSyntax, name)
		}
		fields = append(fields, field{textproto.CanonicalMIMEHeaderKey(name), value})
		text = rest
	}
}

// note takes from one header what it says about the answer.
func (a *answer) note(f field) error {
	switch f.name {
	case "Content-Length":
		return a.noteLength(f.value)
	case "Transfer-Encoding":
		if a.chunked || !strings.EqualFold(f.value, "chunked") {
			return fmt.Errorf("%w: unsupported Transfer-Encoding", errHeadSyntax)
		}
		a.chunked = true
	case "Connection":
		a.options = append(a.options, connectionOptions([]string{f.value})...)
		a.close = a.close || httpguts.HeaderValuesContainsToken([]string{f.value}, "close")
	case "Upgrade":
		a.upgrade = f.value
	case "Trailer":
		a.noteTrailer(f.value)
	case "Content-Type":
		a.events = isEventStream(f.value)
	}
	return nil
}

func (a *answer) noteLength(value string) error {
	length, err := strconv.ParseUint(value, 10, 63)
	if err != nil || a.length >= 0 && a.length != int64(length) {
		return fmt.Errorf("%w: bad or conflicting Content-Length", errHeadSyntax)
	}
	a.length = int64(length)
	return nil
}

func (a *answer) noteTrailer(value string) {
	for name := range strings.SplitSeq(value, ",") {
		name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name))
		if httpguts.ValidHeaderFieldName(name) && allowedTrailer(name) {
			a.trailer = append(a.trailer, name)
		}
	}
}

func isEventStream(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(textproto.TrimString(media), "text/event-stream")
}

// settleFraming decides how the body ends. A body that ends with the connection is refused: its end could not be told
// from a crash.
func (a *answer) settleFraming(method string) error {
	if a.chunked && a.length >= 0 {
		return fmt.Errorf("%w: both Content-Length and Transfer-Encoding", errHeadSyntax)
	}
	if method == http.MethodHead || !bodyAllowed(a.status) {
		a.close = a.close || a.chunked && method != http.MethodHead // was something sent after all?
		a.chunked = false
		if a.status == http.StatusNoContent {
			a.length = -1
		}
		return nil
	}
	if !a.chunked && a.length < 0 {
		return fmt.Errorf("%w: neither Content-Length nor chunked, the end of its body could not be told from a crash",
			errHeadSyntax)
	}
	return nil
}

// bodyAllowed tells whether an answer with this status has a body, unless it answers HEAD.
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// hasBody tells whether body bytes follow the head.
func (a *answer) hasBody(method string) bool {
	return method != http.MethodHead && bodyAllowed(a.status)
}

// copyTo writes the headers that travel on to the client into header. What is in it already is the core's and stays.
func (a *answer) copyTo(header http.Header) {
	values := make([]string, 0, len(a.fields)+2)
	set := func(name, value string) {
		values = append(values, value)
		header[name] = values[len(values)-1 : len(values) : len(values)]
	}
	own := ownNames(header)
	for _, f := range a.fields {
		if !a.forwarded(f.name) || slices.Contains(own, f.name) {
			continue
		}
		if earlier, again := header[f.name]; again {
			header[f.name] = append(earlier, f.value)
		} else {
			set(f.name, f.value)
		}
	}
	if a.length >= 0 {
		set("Content-Length", strconv.FormatInt(a.length, 10))
	}
	if a.chunked && len(a.trailer) > 0 {
		set("Trailer", strings.Join(a.trailer, ", "))
	}
}

// ownNames returns the names that the core has set, which the module cannot change. To lists, both add.
func ownNames(header http.Header) []string {
	if len(header) == 0 {
		return nil
	}
	names := make([]string, 0, len(header))
	for name := range header {
		if name != "Vary" && name != "Set-Cookie" {
			names = append(names, name)
		}
	}
	return names
}

func (a *answer) forwarded(name string) bool {
	return name != "Content-Length" && !hopByHop(name) && !reserved(name) && !listed(a.options, name)
}

// unexpected turns the end of a connection into an error that names the fault.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the module closed the connection: %w", io.ErrUnexpectedEOF)
	}
	return err
}

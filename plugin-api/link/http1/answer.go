package http1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

var (
	errHeadTooLarge = fmt.Errorf("the module's headers exceed %d bytes", maxHead)
	errHeadSyntax   = errors.New("the module's answer is not HTTP/1.1")
)

// answer is the head of a module's answer. It is stricter than most clients: what is odd ends here, as 502.
type answer struct {
	hop.Answer

	chunked bool
	close   bool // the module ends the connection after this answer
	upgrade string
	takes   bool // the module wants the client's own socket
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
	a.Reset()
	a.chunked, a.close, a.upgrade, a.takes = false, false, "", false
	line, rest, _ := strings.Cut(text, "\r\n")
	if err := a.parseStatus(line); err != nil {
		return err
	}
	fields, err := appendFields(a.Fields, rest)
	if err != nil {
		return err
	}
	a.Fields = fields
	for _, f := range a.Fields {
		if err := a.note(f); err != nil {
			return err
		}
	}
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
	a.Status = status
	return nil
}

// appendFields parses header or trailer lines up to the blank one.
func appendFields(fields []hop.Field, text string) ([]hop.Field, error) {
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
		fields = append(fields, hop.Field{Name: textproto.CanonicalMIMEHeaderKey(name), Value: value})
		text = rest
	}
}

// note takes from one header what it says about the answer.
func (a *answer) note(f hop.Field) error {
	switch f.Name {
	case "Content-Length":
		return a.noteLength(f.Value)
	case "Transfer-Encoding":
		if a.chunked || !strings.EqualFold(f.Value, "chunked") {
			return fmt.Errorf("%w: unsupported Transfer-Encoding", errHeadSyntax)
		}
		a.chunked = true
	case "Connection":
		a.close = a.close || httpguts.HeaderValuesContainsToken([]string{f.Value}, "close")
	case "Upgrade":
		a.upgrade = f.Value
	case headerHandover:
		a.takes = true
	}
	a.Note(f)
	return nil
}

func (a *answer) noteLength(value string) error {
	length, err := strconv.ParseUint(value, 10, 63)
	if err != nil || a.Length >= 0 && a.Length != int64(length) {
		return fmt.Errorf("%w: bad or conflicting Content-Length", errHeadSyntax)
	}
	a.Length = int64(length)
	return nil
}

// settleFraming decides how the body ends. A body that ends with the connection is refused: its end could not be told
// from a crash.
func (a *answer) settleFraming(method string) error {
	if a.chunked && a.Length >= 0 {
		return fmt.Errorf("%w: both Content-Length and Transfer-Encoding", errHeadSyntax)
	}
	if method == http.MethodHead || !hop.BodyAllowed(a.Status) {
		a.close = a.close || a.chunked && method != http.MethodHead // was something sent after all?
		a.chunked = false
		if a.Status == http.StatusNoContent {
			a.Length = -1
		}
		return nil
	}
	if !a.chunked && a.Length < 0 {
		return fmt.Errorf("%w: neither Content-Length nor chunked, the end of its body could not be told from a crash",
			errHeadSyntax)
	}
	return nil
}

// unexpected turns the end of a connection into an error that names the fault.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the module closed the connection: %w", io.ErrUnexpectedEOF)
	}
	return err
}

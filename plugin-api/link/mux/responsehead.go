package mux

import (
	"encoding/binary"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// noteLength takes the handler's Content-Length out of the fields: it has a place of its own. One that is no number is
// dropped, as net/http does.
func (w *response) noteLength() {
	if values := w.header["Content-Length"]; len(values) > 0 {
		if length, err := strconv.ParseInt(values[0], 10, 63); err == nil && length >= 0 {
			w.declared = length
		}
	}
}

// inform sends an informational answer; only Early Hints mean anything to the core.
func (w *response) inform(status int) {
	if status != http.StatusEarlyHints {
		return
	}
	fields, count := appendFields(nil, w.header, true)
	if !w.charge(headerSize + len(fields)) {
		return
	}
	frame := appendHead(beginFrame(nil, kindHead, w.x.id), answerHead{status, -1, count, fields})
	w.keep(w.x.conn.batch.send(endFrame(frame, 0, 0), false))
}

// appendFields appends the headers in the form that text.fields reads, without the number of them before it. Where no body
// follows, neither do trailers.
func appendFields(dst []byte, header http.Header, bodiless bool) ([]byte, int) {
	n := 0
	for name, values := range header {
		// Content-Length has its own place. No valid name are those with http.TrailerPrefix.
		if name == "Content-Length" || bodiless && name == "Trailer" || !httpguts.ValidHeaderFieldName(name) {
			continue
		}
		for _, value := range values {
			dst = appendText(appendText(dst, name), oneLine(value))
			n++
		}
	}
	return dst, n
}

// oneLine makes a header's value fit on its line, as net/http does.
func oneLine(value string) string {
	if strings.ContainsAny(value, "\r\n") {
		value = strings.NewReplacer("\n", " ", "\r", " ").Replace(value)
	}
	return strings.Trim(value, " \t")
}

// answerHead is the head of an answer: length is the body's, or -1, and fields holds count headers, encoded.
type answerHead struct {
	status int
	length int64
	count  int
	fields []byte
}

// appendHead appends what parseHead reads, with its length before it.
func appendHead(dst []byte, h answerHead) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.AppendUvarint(dst, uint64(h.status))
	dst = binary.AppendUvarint(dst, uint64(h.length+1))
	dst = binary.AppendUvarint(dst, uint64(h.count))
	dst = append(dst, h.fields...)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// settleType guesses the Content-Type, if the handler left it open, from how the body begins.
func (w *response) settleType(body []byte) {
	if w.sniff && !w.begun && len(body) > 0 {
		w.fields = appendText(appendText(w.fields, "Content-Type"), http.DetectContentType(body))
		w.count, w.sniff = w.count+1, false
	}
}

// finalTrailers returns the trailers as net/http finds them: headers that were announced, and those with the prefix.
func (w *response) finalTrailers() (count int, fields []byte) {
	add := func(name string, values []string) {
		for _, value := range values {
			fields = appendText(appendText(fields, name), oneLine(value))
			count++
		}
	}
	if w.bodiless {
		return 0, nil
	}
	for _, names := range w.trailers {
		for name := range strings.SplitSeq(names, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if httpguts.ValidHeaderFieldName(name) && httpguts.ValidTrailerHeader(name) {
				add(name, w.header[name])
			}
		}
	}
	for name, values := range w.header {
		if late, ok := strings.CutPrefix(name, http.TrailerPrefix); ok && httpguts.ValidHeaderFieldName(late) {
			add(late, values)
		}
	}
	return count, fields
}

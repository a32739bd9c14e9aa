package gateway

import (
	"bytes"
	"errors"
	"strconv"
)

// maxLine bounds a line of which a part is kept. net/http gives up earlier.
const maxLine = 64 << 10

// Faults that net/http overlooks, and that let two readers of one connection see different requests (RFC 9112, section
// 11.2). The messages are for the log; net/http answers 400 to any of them.
var (
	errFolded       = errors.New("a header line is folded")
	errTwoLengths   = errors.New("more than one Content-Length")
	errTwoFramings  = errors.New("both Content-Length and Transfer-Encoding")
	errOldFraming   = errors.New("Transfer-Encoding in HTTP/1.0")
	errLongHeadLine = errors.New("a line is too long")
)

type stage int

const (
	atRequestLine stage = iota
	inHead
	inBody
	atChunkSize
	inChunk
	inTrailers
	lost // net/http will refuse what came, and close the connection
)

// messages follows the requests that arrive on one HTTP/1.1 connection, in step with net/http, only far enough to know
// where each head begins and ends. The zero value waits for the first request.
type messages struct {
	stage stage
	line  []byte // the beginning of the current line, if it came with an earlier piece
	left  int64  // bytes of the body or the chunk that are still to come

	// About the current head:
	old       bool // HTTP/1.0
	length    int64
	hasLength bool
	chunked   bool
	bad       bool // net/http will refuse it
}

// follow looks at the next piece of the connection. At a fault it returns how many bytes came before the faulty line.
func (m *messages) follow(piece []byte) (good int, fault error) {
	for at := 0; at < len(piece); {
		if m.stage == lost {
			return len(piece), nil
		}
		if m.stage == inBody || m.stage == inChunk {
			at += m.skip(len(piece) - at)
			continue
		}
		line, size, whole := m.nextLine(piece[at:])
		if len(m.line) > maxLine {
			return at, errLongHeadLine
		}
		if whole {
			if fault := m.take(line); fault != nil {
				return at, fault
			}
			m.line = m.line[:0]
		}
		at += size
	}
	return len(piece), nil
}

// withinBody tells whether the rest of a body is to come.
func (m *messages) withinBody() bool {
	switch m.stage {
	case inBody, inChunk, atChunkSize, inTrailers:
		return true
	case atRequestLine, inHead, lost:
	}
	return false
}

// skip passes over at most n bytes of a body.
func (m *messages) skip(n int) int {
	if int64(n) < m.left {
		m.left -= int64(n)
		return n
	}
	n, m.left = int(m.left), 0
	if m.stage == inBody {
		m.stage = atRequestLine
	} else {
		m.stage = atChunkSize
	}
	return n
}

// nextLine returns the current line without its end, if it has come as a whole, and how many bytes of the piece are its.
func (m *messages) nextLine(piece []byte) (line []byte, size int, whole bool) {
	end := bytes.IndexByte(piece, '\n')
	if end < 0 {
		m.line = append(m.line, piece...)
		return nil, len(piece), false
	}
	line = piece[:end]
	if len(m.line) > 0 {
		m.line = append(m.line, line...)
		line = m.line
	}
	return bytes.TrimSuffix(line, []byte{'\r'}), end + 1, true
}

// take looks at one line.
func (m *messages) take(line []byte) error {
	switch m.stage {
	case atRequestLine:
		m.takeRequestLine(line)
	case inHead:
		return m.takeHeader(line)
	case atChunkSize:
		m.takeChunkSize(line)
	case inTrailers:
		return m.takeTrailer(line)
	case inBody, inChunk, lost: // not made of lines
	}
	return nil
}

func (m *messages) takeRequestLine(line []byte) {
	if len(line) == 0 {
		return // some clients end a body with one; whether it is tolerated is net/http's business
	}
	m.stage, m.old = inHead, bytes.HasSuffix(line, []byte(" HTTP/1.0"))
	m.length, m.hasLength, m.chunked, m.bad = 0, false, false, false
}

func (m *messages) takeHeader(line []byte) error {
	if len(line) == 0 {
		m.endHead()
		return nil
	}
	if folded(line) {
		return errFolded
	}
	name, value, _ := bytes.Cut(line, []byte{':'})
	switch {
	case bytes.EqualFold(name, []byte("Content-Length")):
		return m.takeLength(value)
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		return m.takeEncoding(value)
	}
	return nil
}

func folded(line []byte) bool { return line[0] == ' ' || line[0] == '\t' }

func (m *messages) takeLength(value []byte) error {
	switch {
	case m.hasLength:
		return errTwoLengths
	case m.chunked:
		return errTwoFramings
	}
	length, err := strconv.ParseUint(string(bytes.Trim(value, " \t")), 10, 63)
	m.length, m.hasLength, m.bad = int64(length), true, m.bad || err != nil
	return nil
}

func (m *messages) takeEncoding(value []byte) error {
	switch {
	case m.hasLength:
		return errTwoFramings
	case m.old:
		return errOldFraming
	}
	known := bytes.EqualFold(bytes.Trim(value, " \t"), []byte("chunked"))
	m.chunked, m.bad = true, m.bad || m.chunked || !known
	return nil
}

func (m *messages) endHead() {
	switch {
	case m.bad:
		m.stage = lost
	case m.chunked:
		m.stage = atChunkSize
	case m.length > 0:
		m.stage, m.left = inBody, m.length
	default:
		m.stage = atRequestLine
	}
}

func (m *messages) takeChunkSize(line []byte) {
	digits, _, _ := bytes.Cut(line, []byte{';'})
	size, err := strconv.ParseUint(string(bytes.Trim(digits, " \t")), 16, 62)
	switch {
	case err != nil:
		m.stage = lost
	case size == 0:
		m.stage = inTrailers
	default:
		m.stage, m.left = inChunk, int64(size)+2 // and CRLF
	}
}

func (m *messages) takeTrailer(line []byte) error {
	if len(line) == 0 {
		m.stage = atRequestLine
		return nil
	}
	if folded(line) {
		return errFolded
	}
	return nil
}

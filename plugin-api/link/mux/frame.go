package mux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Version is the version of the protocol that this package speaks. A module that offers another one is spoken to in
// HTTP/1.1.
const Version = 2

const (
	// headerSize is the size of a frame's header: the payload's length and the exchange's id, both uint32 in big-endian
	// order, then kind and flags, a byte each.
	headerSize = 10
	// maxPayload bounds a frame. The largest is a request with all the headers that a client may send, and a body.
	maxPayload = 256 << 10
	// maxHead bounds the head of an answer, and its trailers, in bytes.
	maxHead = 64 << 10
	// maxSmall is the largest piece of an answer that travels in frames, in bytes: what is larger goes beside them.
	maxSmall = 32 << 10
	// window is how much of one answer may be on its way in frames, in bytes: a client that reads slowly costs the core no
	// more.
	window = 128 << 10
)

type kind uint8

const (
	// From the core: a request begins, its caller has lost interest, or has taken so much of the answer (uint32).
	kindRequest kind = iota + 1
	kindCancel
	kindCredit
	// kindSideFree names a side connection (the frame's id) that has nothing left in it.
	kindSideFree
	// From the module: the head of an answer, a piece of its body, what follows the body.
	kindHead
	kindData
	kindTrailers
	// kindAbort ends an exchange whose answer cannot be completed.
	kindAbort
	// kindSideWanted asks for a new side connection for the exchange.
	kindSideWanted
)

type flags uint8

const (
	// flagEnd ends the answer.
	flagEnd flags = 1 << iota
	// flagSide begins the payload with the id (uint32) of the side connection that carries the rest of the body.
	flagSide
	// flagUntouched says of an abort that no handler has seen the request.
	flagUntouched
)

var errFrame = errors.New("the link's peer does not follow the protocol")

// frame is one frame as it was read. Its payload is valid until the next one is.
type frame struct {
	id      uint32
	kind    kind
	flags   flags
	payload []byte
}

// beginFrame appends the header of a frame whose payload follows; endFrame completes it.
func beginFrame(dst []byte, k kind, id uint32) []byte {
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, id)
	return append(dst, byte(k), 0)
}

// endFrame completes the frame that began at start.
func endFrame(dst []byte, start int, f flags) []byte {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-headerSize))
	dst[start+headerSize-1] = byte(f)
	return dst
}

// appendFrame appends a whole frame.
func appendFrame(dst []byte, f frame) []byte {
	start := len(dst)
	return endFrame(append(beginFrame(dst, f.kind, f.id), f.payload...), start, f.flags)
}

// parseFrame returns the frame at the beginning of data, and its size; 0 says that it is not there as a whole yet.
func parseFrame(data []byte) (f frame, size int, err error) {
	if len(data) < headerSize {
		return f, 0, nil
	}
	length := binary.BigEndian.Uint32(data)
	if length > maxPayload {
		return f, 0, fmt.Errorf("%w: a frame of %d bytes", errFrame, length)
	}
	f = frame{id: binary.BigEndian.Uint32(data[4:]), kind: kind(data[8]), flags: flags(data[9])}
	size = headerSize + int(length)
	if len(data) < size {
		return f, 0, nil
	}
	f.payload = data[headerSize:size]
	return f, size, nil
}

// frameReader reads frames, as many with one Read as there are.
type frameReader struct {
	src        io.Reader
	buf        []byte
	start, end int
}

func newFrameReader(src io.Reader) *frameReader {
	return &frameReader{src: src, buf: make([]byte, 64<<10)}
}

// next returns the next frame. io.EOF means that the peer has closed the connection between two frames.
func (r *frameReader) next() (frame, error) {
	for {
		f, size, err := parseFrame(r.buf[r.start:r.end])
		if err != nil {
			return f, err
		}
		if size > 0 {
			r.start += size
			return f, nil
		}
		if err := r.fill(); err != nil {
			return f, err
		}
	}
}

func (r *frameReader) fill() error {
	if r.start > 0 {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	if r.end == len(r.buf) {
		r.buf = append(r.buf, make([]byte, headerSize+maxPayload-len(r.buf))...)
	}
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	switch {
	case n > 0:
		return nil
	case err == io.EOF && r.end > 0:
		return io.ErrUnexpectedEOF
	case err == nil:
		return io.ErrNoProgress
	}
	return err
}

// appendText appends a string with its length before it.
func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// text reads what appendText and binary.AppendUvarint wrote. After a failure everything it returns is empty; see err.
type text struct {
	rest string
	err  error
}

func (t *text) number() uint64 {
	var n uint64
	for i := range min(len(t.rest), binary.MaxVarintLen64) {
		b := t.rest[i]
		n |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			t.rest = t.rest[i+1:]
			return n
		}
	}
	t.fail()
	return 0
}

func (t *text) string() string {
	length := t.number()
	if length > uint64(len(t.rest)) {
		t.fail()
		return ""
	}
	s := t.rest[:length]
	t.rest = t.rest[length:]
	return s
}

// count reads how many things follow, of which each takes at least size bytes.
func (t *text) count(size int) int {
	n := t.number()
	if n > uint64(len(t.rest)/size) {
		t.fail()
		return 0
	}
	return int(n)
}

func (t *text) fail() {
	t.rest = ""
	if t.err == nil {
		t.err = fmt.Errorf("%w: a payload is cut short", errFrame)
	}
}

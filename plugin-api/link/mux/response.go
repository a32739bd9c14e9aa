package mux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

// response is the http.ResponseWriter of an exchange. It behaves as net/http's does, except that it does not hijack.
//
// Up to maxSmall bytes wait in body. If the handler returns before there are more, the whole answer is one frame; if it
// flushes, what there is goes in a frame; if there are more, they and all that follows go to a side connection.
type response struct {
	x      *incoming
	header http.Header

	status   int      // 0 until WriteHeader
	fields   []byte   // the head's fields, encoded by WriteHeader
	count    int      // of the fields
	declared int64    // the handler's Content-Length, or -1
	sniff    bool     // the handler left the Content-Type open
	bodiless bool     // neither a body nor trailers follow the head
	trailers []string // those that were announced, as they were
	begun    bool     // the head has been sent
	over     bool     // the handler has returned
	written  int64
	buf      *[maxSmall]byte // pooled; nil until the first byte
	buffered int
	side     *sideConn
	writeBy  time.Time // see SetWriteDeadline
	chunk    chunk     // the last one on side
	framed   bool      // no side connection is to be had
	err      error     // of sending; sticks
	extra    int       // bytes of informational answers, head and trailers
}

// maxFields bounds the headers and trailers of an answer, in bytes; the core counts a few more to each head.
const maxFields = maxHead - 64

var errFields = errors.New("the answer has too many headers")

var errOver = errors.New("the handler of this answer has returned")

func (w *response) init(x *incoming) {
	w.x, w.header, w.declared = x, http.Header{}, -1
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status))
	}
	if w.status != 0 || w.over {
		return
	}
	if status < 200 && status != http.StatusSwitchingProtocols { // which the core refuses
		w.inform(status)
		return
	}
	w.status = status
	w.noteLength()
	if w.bodiless = w.x.r.Method == http.MethodHead || !hop.BodyAllowed(status); !w.bodiless {
		w.trailers = w.header["Trailer"]
	}
	_, typed := w.header["Content-Type"]
	w.sniff = !typed && w.header.Get("Content-Encoding") == "" && w.header.Get("Transfer-Encoding") == ""
	w.fields, w.count = appendFields(w.fields[:0], w.header, w.bodiless)
	w.charge(len(w.fields))
}

// charge counts what an answer has beside its body. Too much of it breaks the answer off: the core would not take it.
func (w *response) charge(size int) bool {
	if w.extra += size; w.extra > maxFields {
		w.keep(errFields)
		return false
	}
	return true
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.over:
		return 0, errOver
	case !hop.BodyAllowed(w.status):
		return 0, http.ErrBodyNotAllowed
	case w.declared >= 0 && w.written+int64(len(p)) > w.declared:
		return 0, http.ErrContentLength
	case w.err != nil:
		return 0, w.err
	}
	w.written += int64(len(p))
	w.add(p)
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// add puts p into the buffer, and sends the buffer when it is full.
func (w *response) add(p []byte) {
	if w.x.r.Method == http.MethodHead {
		w.sniffOnly(p)
		return
	}
	if w.buffered+len(p) > maxSmall {
		w.overflow(p)
		return
	}
	w.buffer(p)
}

func (w *response) buffer(p []byte) {
	if w.buf == nil {
		w.buf = smallBuffers.Get().(*[maxSmall]byte) //nolint:errcheck // New makes no other
	}
	w.buffered += copy(w.buf[w.buffered:], p)
}

// sniffOnly keeps as much of the answer to HEAD as its Content-Type needs.
func (w *response) sniffOnly(p []byte) {
	const sniffed = 512
	if room := sniffed - w.buffered; room > 0 {
		w.buffer(p[:min(room, len(p))])
	}
}

// overflow sends what is buffered and p on a side connection. Small pieces are gathered on the way.
func (w *response) overflow(p []byte) {
	if w.side == nil {
		if w.buffered > 0 && !w.begun {
			n := copy(w.buf[w.buffered:], p) // the type may show only in both together
			w.buffered, p = w.buffered+n, p[n:]
			w.settleType(w.buf[:w.buffered])
		}
		w.settleType(p)
		var err error
		if !w.framed {
			err = w.divert()
			w.framed = errors.Is(err, errNoNewSide)
		}
		if w.framed {
			w.overflowFrames(p)
			return
		}
		if !w.keep(err) {
			return
		}
	}
	if w.buffered > 0 && len(p) < maxSmall {
		n := copy(w.buf[w.buffered:], p)
		w.buffered += n
		p = p[n:]
	}
	if w.flushSide() && len(p) >= maxSmall {
		w.keep(w.side.write(&w.chunk, uint32(len(p)), p))
		return
	}
	w.buffer(p)
}

// overflowFrames sends what is buffered and p in frames.
func (w *response) overflowFrames(p []byte) {
	for len(p) > 0 && w.err == nil {
		if w.buffered == maxSmall {
			w.keep(w.flushFrames(0))
		}
		n := min(len(p), maxSmall-w.buffered)
		w.buffer(p[:n])
		p = p[n:]
	}
}

// divert moves the rest of the answer to a side connection.
func (w *response) divert() error {
	x := w.x
	side, err := x.conn.server.sides.acquire(&x.ctx, x.id, func() error {
		return x.conn.batch.send(appendFrame(nil, frame{kind: kindSideWanted, id: x.id}), true)
	})
	if err != nil {
		return err
	}
	w.side = side
	_ = side.conn.SetWriteDeadline(w.writeBy) // the answer before may have left one
	frame := w.beginPiece(nil)
	frame = binary.BigEndian.AppendUint32(frame, side.id)
	return x.conn.batch.send(endFrame(frame, 0, flagSide), false)
}

// beginPiece begins a frame for a piece of the body, with the head before it if that has not been sent.
func (w *response) beginPiece(dst []byte) []byte {
	if w.begun {
		return beginFrame(dst, kindData, w.x.id)
	}
	w.begun = true
	return appendHead(beginFrame(dst, kindHead, w.x.id), answerHead{w.status, w.declared, w.count, w.fields})
}

// flushSide sends what is buffered to the side connection.
func (w *response) flushSide() bool {
	if w.buffered == 0 {
		return true
	}
	n := w.buffered
	w.buffered = 0
	return w.keep(w.side.write(&w.chunk, uint32(n), w.buf[:n]))
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController calls.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.over || w.err != nil:
	case w.side != nil:
		w.flushSide()
	case !w.begun || w.buffered > 0:
		w.keep(w.flushFrames(0))
	}
	return w.err
}

// flushFrames sends what is buffered in frames, as fast as the client takes it.
func (w *response) flushFrames(last flags) error {
	body := w.takeBody()
	for first := true; first || len(body) > 0; first = false {
		n, err := w.x.credit.take(&w.x.ctx, len(body), w.writeBy)
		if err != nil {
			return err
		}
		f := last
		if n < len(body) {
			f = 0
		}
		scratch := frames.Get().(*[]byte) //nolint:errcheck // New makes no other
		*scratch = endFrame(append(w.beginPiece((*scratch)[:0]), body[:n]...), 0, f)
		err = w.x.conn.batch.send(*scratch, false)
		frames.Put(scratch)
		if err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}

// takeBody returns what is buffered, which is then no longer: it is valid until the next Write.
func (w *response) takeBody() []byte {
	n := w.buffered
	if n == 0 {
		return nil
	}
	w.settleType(w.buf[:n])
	w.buffered = 0
	if w.x.r.Method == http.MethodHead {
		return nil
	}
	return w.buf[:n]
}

// finish sends what is left of the answer.
func (w *response) finish() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.err != nil {
		return w.err
	}
	isHead := w.x.r.Method == http.MethodHead
	if w.declared >= 0 && w.written < w.declared && hop.BodyAllowed(w.status) && !isHead {
		return http.ErrContentLength
	}
	count, trailers := w.finalTrailers()
	if !w.charge(len(trailers)) {
		return w.err
	}
	if !w.begun && len(w.trailers) == 0 && count == 0 && w.declared < 0 && hop.BodyAllowed(w.status) && (!isHead || w.written > 0) {
		w.declared = w.written
	}
	w.over = true
	defer w.free()
	switch {
	case w.side != nil:
		if !w.flushSide() {
			return w.err
		}
		last := append(binary.AppendUvarint(nil, uint64(count)), trailers...)
		return w.side.write(&w.chunk, lastChunk|uint32(len(last)), last)
	case count == 0:
		return w.flushFrames(flagEnd)
	}
	if err := w.flushFrames(0); err != nil {
		return err
	}
	last := append(binary.AppendUvarint(nil, uint64(count)), trailers...)
	return w.x.conn.batch.send(appendFrame(nil, frame{kind: kindTrailers, flags: flagEnd, id: w.x.id, payload: last}), false)
}

// abort makes the core cut the answer off.
func (w *response) abort() {
	w.over = true
	if w.side != nil {
		w.x.conn.server.sides.discard(w.side)
	}
	abort := appendFrame(nil, frame{kind: kindAbort, flags: flagEnd, id: w.x.id})
	_ = w.x.conn.batch.send(abort, true) // if it fails, everything is cut off
	w.free()
}

// free gives the buffer back.
func (w *response) free() {
	if w.buf != nil {
		smallBuffers.Put(w.buf)
		w.buf = nil
	}
}

// keep remembers the first error of sending.
func (w *response) keep(err error) bool {
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("send to the core: %w", err)
	}
	return err == nil
}

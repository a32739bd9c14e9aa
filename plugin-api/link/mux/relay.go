package mux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"

	"golang.org/x/net/http/httpguts"

	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

var errHead = errors.New("the module's answer is not valid HTTP")

// relay writes the module's answer to the client. Once the head is out there is no way back: a failure ends in a panic
// that makes net/http cut the client's connection.
func (x *exchange) relay() error {
	err := x.converse()
	if err == nil {
		return nil
	}
	x.taken = nil // net/http may not have let go of it: on HTTP/2 a Write can fail while it still writes
	if x.begun {
		x.abort(err)
	}
	return x.failure(err)
}

// converse does what the module's frames say, until one ends the answer.
func (x *exchange) converse() error {
	for !x.over {
		frames, err := x.conn.receive(x)
		if err != nil {
			return err
		}
		for len(frames) > 0 && !x.over {
			f, size, err := parseFrame(frames)
			if err != nil {
				return err
			}
			frames = frames[size:]
			if err := x.handle(f); err != nil {
				return err
			}
		}
		if err := x.settle(); err != nil {
			return err
		}
	}
	return nil
}

// settle is called when every frame that has come is written: the client sees them now, and the module may go on.
func (x *exchange) settle() error {
	if x.over || !x.begun {
		return nil
	}
	if err := x.watch.Flush(); err != nil {
		return fmt.Errorf("write to the client: %w", err)
	}
	if x.owed < window/2 {
		return nil
	}
	var amount [4]byte
	binary.BigEndian.PutUint32(amount[:], uint32(x.owed))
	x.owed = 0
	return x.conn.batch.send(appendFrame(nil, frame{kind: kindCredit, id: x.id, payload: amount[:]}), true)
}

func (x *exchange) handle(f frame) error {
	if f.kind != kindHead || f.flags&(flagEnd|flagSide) != flagEnd {
		x.heed() // it may take long from here on
	}
	switch f.kind {
	case kindHead:
		return x.handleHead(f)
	case kindData:
		if !x.begun {
			return fmt.Errorf("%w: a body before its head", errFrame)
		}
		return x.handleBody(f, f.payload)
	case kindTrailers:
		return x.handleTrailers(f.payload)
	case kindSideWanted:
		return x.provideSide()
	default: // kindAbort: deliver lets no other through
		x.over = true
		x.reached = x.reached && f.flags&flagUntouched == 0
		return fmt.Errorf("the module broke the exchange off: %w", io.ErrUnexpectedEOF)
	}
}

// handleHead reads status, length of the body + 1 (0: not known), n × (header, value). What follows belongs to the body.
func (x *exchange) handleHead(f frame) error {
	if x.begun {
		return fmt.Errorf("%w: two heads", errFrame)
	}
	head, body, err := splitHead(f.payload)
	if err != nil {
		return err
	}
	if err := parseHead(&x.answer, head); err != nil {
		return err
	}
	if x.answer.Status < 200 {
		if x.answer.Status == http.StatusEarlyHints && x.r.ProtoAtLeast(1, 1) {
			x.watch.Hint(&x.answer)
		}
		return nil
	}
	if err := x.writeHead(); err != nil {
		return err
	}
	if !x.answer.HasBody(x.r.Method) && len(body) == 0 {
		return x.endBody() // whatever the handler still does
	}
	return x.handleBody(f, body)
}

// writeHead writes the head to the client.
func (x *exchange) writeHead() error {
	if !x.watch.BeginAnswer() {
		return errCut
	}
	if err := x.ended(); err != nil { // by the clock: a timer may be late, and would cut an answer that it lets begin
		return err
	}
	header := x.w.Header()
	x.answer.CopyTo(header, x.answer.Length < 0 && x.answer.HasBody(x.r.Method))
	if _, named := header["Content-Type"]; !named {
		header["Content-Type"] = nil // net/http would guess what the module left open
	}
	x.begun = true
	x.w.WriteHeader(x.answer.Status)
	return nil
}

// handleBody writes a piece of the body, and the rest of it if that comes on a side connection.
func (x *exchange) handleBody(f frame, piece []byte) error {
	var id uint32
	if f.flags&flagSide != 0 {
		if len(piece) < 4 {
			return fmt.Errorf("%w: no side connection is named", errFrame)
		}
		id, piece = binary.BigEndian.Uint32(piece), piece[4:]
	}
	if err := x.writeBody(piece); err != nil {
		return err
	}
	x.owed += len(piece)
	if f.flags&flagSide != 0 {
		return x.relaySide(id)
	}
	if f.flags&flagEnd != 0 {
		return x.endBody()
	}
	return nil
}

func (x *exchange) writeBody(piece []byte) error {
	if len(piece) == 0 {
		return nil
	}
	x.got += int64(len(piece))
	if !x.answer.HasBody(x.r.Method) || x.answer.Length >= 0 && x.got > x.answer.Length {
		return fmt.Errorf("%w: its body is longer than its head allows", errHead)
	}
	if err := x.watch.Write(piece, false); err != nil {
		return fmt.Errorf("write to the client: %w", err)
	}
	return nil
}

func (x *exchange) endBody() error {
	x.over = true
	if x.got == 0 {
		x.watch.ArmWrite() // net/http writes the head when its handler has returned
	}
	if x.answer.Length >= 0 && x.got < x.answer.Length && x.answer.HasBody(x.r.Method) {
		return fmt.Errorf("the module's body ends %d bytes early: %w", x.answer.Length-x.got, io.ErrUnexpectedEOF)
	}
	return nil
}

// handleTrailers passes on what follows the body.
func (x *exchange) handleTrailers(payload []byte) error {
	if !x.begun {
		return fmt.Errorf("%w: trailers before the head", errFrame)
	}
	t := text{rest: string(payload)}
	fields, err := t.fields(nil)
	if err != nil {
		return err
	}
	if x.answer.HasBody(x.r.Method) && x.answer.Length < 0 && len(fields) > 0 {
		if err := x.watch.Flush(); err != nil {
			return fmt.Errorf("write to the client: %w", err)
		}
		x.answer.SetTrailers(x.w.Header(), fields)
	}
	return x.endBody()
}

// splitHead separates a head, which has its length before it, from what follows.
func splitHead(payload []byte) (head, rest []byte, err error) {
	if len(payload) < 4 {
		return nil, nil, fmt.Errorf("%w: a payload is cut short", errFrame)
	}
	length := binary.BigEndian.Uint32(payload)
	payload = payload[4:]
	switch {
	case length > maxHead:
		return nil, nil, fmt.Errorf("%w: its headers exceed %d bytes", errHead, maxHead)
	case uint64(length) > uint64(len(payload)):
		return nil, nil, fmt.Errorf("%w: a payload is cut short", errFrame)
	}
	return payload[:length], payload[length:], nil
}

// parseHead reads the head of an answer. It is as strict as http1: what is odd ends here, as 502.
func parseHead(a *hop.Answer, head []byte) error {
	t := text{rest: string(head)}
	status, length := t.number(), t.number()
	a.Reset()
	fields, err := t.fields(a.Fields)
	if err != nil {
		return err
	}
	if status < 100 || status > 599 || status == http.StatusSwitchingProtocols || length > 1<<62 {
		return fmt.Errorf("%w: status %d", errHead, status)
	}
	a.Status, a.Fields, a.Length = int(status), fields, int64(length)-1
	if a.Status == http.StatusNoContent {
		a.Length = -1
	}
	for _, f := range a.Fields {
		a.Note(f)
	}
	return nil
}

// fields reads headers or trailers to the end of the text.
func (t *text) fields(into []hop.Field) ([]hop.Field, error) {
	n := t.count(2)
	for range n {
		f := hop.Field{Name: t.string(), Value: t.string()}
		if t.err == nil && (!httpguts.ValidHeaderFieldName(f.Name) || !httpguts.ValidHeaderFieldValue(f.Value)) {
			return nil, fmt.Errorf("%w: a control byte in header %q", errHead, f.Name)
		}
		f.Name = textproto.CanonicalMIMEHeaderKey(f.Name)
		into = append(into, f)
	}
	if t.err == nil && t.rest != "" {
		t.fail()
	}
	return into, t.err
}

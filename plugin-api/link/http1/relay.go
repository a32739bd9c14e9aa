package http1

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"

	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

// relay writes the answer to the client. Once the head is out there is no way back: a failure ends in a panic that makes
// net/http cut the client's connection.
func (x *exchange) relay() error {
	if x.upload != nil {
		x.foreseeUpload()
	}
	if !x.watch.BeginAnswer() {
		return x.failure(x.r.Context().Err())
	}
	header := x.w.Header()
	x.answer.CopyTo(header, x.answer.chunked)
	if _, named := header["Content-Type"]; !named {
		header["Content-Type"] = nil // net/http would guess what the module left open
	}
	x.watch.ArmWrite()
	x.w.WriteHeader(x.answer.Status)
	if err := x.relayBody(); err != nil {
		x.abort(err)
	}
	x.relayed = true
	return nil
}

// foreseeUpload lets the head tell an HTTP/1 client whether its connection lives on. An answer that is here already can wait
// until the upload is settled; one that is still to come cannot, the two may depend on each other.
func (x *exchange) foreseeUpload() {
	a := &x.answer
	if !a.HasBody(x.r.Method) || a.Length >= 0 && a.Length <= int64(x.conn.reader.Buffered()) {
		x.watch.Unwatch() // see endUpload
		x.upload.settle(true)
	} else if a.close && x.r.ProtoMajor == 1 && !closed(x.upload.done) {
		x.w.Header().Set("Connection", "close")
	}
}

// abort panics with http.ErrAbortHandler, for the given reason.
func (x *exchange) abort(err error) {
	if x.client.config.OnAbort != nil {
		x.client.config.OnAbort(x.r, x.cause(err))
	}
	panic(http.ErrAbortHandler)
}

func (x *exchange) relayBody() error {
	reader := x.conn.reader
	a := &x.answer
	if !a.HasBody(x.r.Method) || a.Length == 0 {
		return nil
	}
	if reader.Buffered() == 0 { // the module sent its head alone: the client may need it now
		if err := x.watch.Flush(); err != nil {
			return fmt.Errorf("write to the client: %w", err)
		}
	}
	switch {
	case a.chunked:
		return x.relayChunked(reader)
	case a.Length <= int64(reader.Buffered()):
		return x.relayBuffered(reader, int(a.Length))
	default:
		return x.relaySized(reader)
	}
}

// relayBuffered writes a body that came together with its head.
func (x *exchange) relayBuffered(reader *bufio.Reader, length int) error {
	body, err := reader.Peek(length)
	if err != nil {
		return err
	}
	if err := x.watch.Write(body, false); err != nil {
		return fmt.Errorf("write to the client: %w", err)
	}
	_, err = reader.Discard(length)
	return err
}

func (x *exchange) relaySized(reader *bufio.Reader) error {
	rest := io.LimitedReader{R: reader, N: x.answer.Length}
	if err := x.copyBody(&rest, x.answer.Events); err != nil {
		return err
	}
	if rest.N > 0 {
		return fmt.Errorf("the module's body ends %d bytes early: %w", rest.N, io.ErrUnexpectedEOF)
	}
	return nil
}

// relayChunked writes each piece as it comes: nobody knows when the next one will.
func (x *exchange) relayChunked(reader *bufio.Reader) error {
	if err := x.copyBody(httputil.NewChunkedReader(reader), true); err != nil {
		return err
	}
	return x.relayTrailers(reader)
}

// copyBody copies to the client until EOF. A client that does not take what it asked for stops the module too, because
// nothing more is read from it.
func (x *exchange) copyBody(body io.Reader, flush bool) error {
	buf := hop.GetBuffer() // not given back after a failure: on HTTP/2 a Write can fail while net/http still writes
	for {
		n, err := body.Read(buf[:])
		if n > 0 {
			if err := x.watch.Write(buf[:n], flush); err != nil {
				return fmt.Errorf("write to the client: %w", err)
			}
		}
		if hop.AtEnd(err) {
			hop.PutBuffer(buf)
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the module's body: %w", err)
		}
	}
}

// relayTrailers passes on what follows a chunked body.
func (x *exchange) relayTrailers(reader *bufio.Reader) error {
	start := len(x.head)
	block, err := readBlock(reader, x.head)
	x.head = block
	if err != nil {
		return fmt.Errorf("read the module's trailers: %w", unexpected(err))
	}
	fields, err := appendFields(nil, string(block[start:]))
	if err != nil || len(fields) == 0 {
		return err
	}
	// The head must be out: net/http looks for trailers that were not announced only when it ends a chunked body.
	if err := x.watch.Flush(); err != nil {
		return fmt.Errorf("write to the client: %w", err)
	}
	x.answer.SetTrailers(x.w.Header(), fields)
	return nil
}

package mux

import (
	"io"
	"time"

	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

// ReadFrom lets io.Copy use buffers that are there already.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	buf := hop.GetBuffer()
	defer hop.PutBuffer(buf)
	return io.CopyBuffer(struct{ io.Writer }{w}, r, buf[:])
}

// EnableFullDuplex serves http.ResponseController: the body of a request has been read before its handler is called.
func (*response) EnableFullDuplex() error { return nil }

// SetReadDeadline serves http.ResponseController; there is nothing left to read.
func (*response) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline serves http.ResponseController: a Write or a Flush that waits for the client longer fails with
// os.ErrDeadlineExceeded, and so does every later one.
func (w *response) SetWriteDeadline(deadline time.Time) error {
	w.writeBy = deadline
	if w.side == nil {
		return nil
	}
	return w.side.conn.SetWriteDeadline(deadline)
}

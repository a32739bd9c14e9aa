package pluginapi

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// response knows whether the answer has begun, so that an error is either a problem or a cut connection, never both.
type response struct {
	http.ResponseWriter
	began bool
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(statusCode int) {
	// Informational responses may precede the real one.
	if statusCode >= 200 || statusCode == http.StatusSwitchingProtocols {
		w.began = true
	}
	w.ResponseWriter.WriteHeader(statusCode)
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	w.began = true
	return w.ResponseWriter.Write(p)
}

// ReadFrom lets io.Copy use sendfile where the server can.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	w.began = true
	return io.Copy(w.ResponseWriter, r)
}

// Flush implements http.Flusher for libraries that do not know http.ResponseController.
func (w *response) Flush() {
	w.began = true
	_ = http.NewResponseController(w.ResponseWriter).Flush() // Flusher has no way to report it; the next Write will
}

// Hijack implements http.Hijacker for libraries that do not know http.ResponseController.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.began = true
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap serves http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/problem"
)

// answerOwn lets the platform itself answer a request that has been admitted.
func (rt *route) answerOwn(a *answer, r *http.Request, params []link.Param, caller auth.Identity) error {
	ctx, end := rt.boundOwn(a, r)
	defer end()
	body := &watchedBody{ReadCloser: r.Body}
	own := r.WithContext(ctx)
	own.Body, own.RemoteAddr = body, rt.gateway.forwarding.client(r)
	delete(own.Header, "Authorization")
	for _, param := range params {
		own.SetPathValue(param.Name, param.Value)
	}
	a.Header().Set("Cache-Control", "no-store")
	a.Header().Set("X-Content-Type-Options", "nosniff")
	if err := rt.own(rt.writer(a, r), own, caller); err != nil {
		return rt.explainOwn(a, own, body.failed, err)
	}
	return nil
}

// boundOwn is bound for an exchange with the platform itself. The connection's deadlines leave a moment to tell of a timeout;
// those of a stream, which may last, are its writer's.
func (rt *route) boundOwn(a *answer, r *http.Request) (context.Context, context.CancelFunc) {
	var until time.Time
	if !rt.endless() {
		until = time.Now().Add(rt.Timeout.Std() + rt.gateway.timeouts.client)
	}
	conn := http.NewResponseController(a)
	_ = errors.Join(conn.SetReadDeadline(until), conn.SetWriteDeadline(until)) // a test's recorder has none; nobody waits there
	if rt.endless() {
		return rt.bound(a, r)
	}
	return context.WithTimeout(r.Context(), rt.Timeout.Std())
}

// explainOwn turns the failure of an exchange with the platform itself into what the client is told. r is the request as
// Serve had it, unread why its body could not be read, if it could not.
func (rt *route) explainOwn(a *answer, r *http.Request, unread, err error) error {
	var tooLarge *http.MaxBytesError
	cause := context.Cause(r.Context())
	_, public := problem.FromError(err)
	switch {
	case a.status != 0:
		return rt.breakOff(a, r, err)
	case errors.As(unread, &tooLarge):
		return rt.tooLarge()
	case errors.Is(unread, os.ErrDeadlineExceeded):
		return bodyLate()
	case errors.Is(cause, errDraining):
		return unavailable("the platform is stopping", retrySoon)
	case errors.Is(cause, errNoAnswer), errors.Is(cause, context.DeadlineExceeded) && !public:
		return tookTooLong()
	case errors.Is(cause, context.Canceled):
		return errClientGone
	case unread != nil && !public:
		return bodyBroken()
	}
	return err
}

// breakOff ends an answer that has begun and cannot go on. That of a stream whose time is over is whole.
func (rt *route) breakOff(a *answer, r *http.Request, err error) error {
	over := r.Context().Err() != nil
	if over && rt.endless() {
		return nil
	}
	if !over {
		rt.gateway.log.Error("an answer of the platform was cut off", "route", rt.ID,
			"request_id", a.Header().Get(headerRequestID), "error", err)
	}
	panic(http.ErrAbortHandler)
}

// watchedBody remembers why it could not be read: a handler's error may not say.
type watchedBody struct {
	io.ReadCloser
	failed error
}

// Read implements io.Reader.
func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF { // as io.Reader promises; an error that wraps it is a failure
		b.failed = err
	}
	return n, err
}

// writer returns what Serve writes to.
func (rt *route) writer(a *answer, r *http.Request) http.ResponseWriter {
	if rt.endless() && r.ProtoMajor == 1 { // on HTTP/2 each write has its deadline, and one that has passed ends a silent stream
		return &streamWriter{a, rt.gateway.timeouts.client}
	}
	return a
}

// streamWriter gives the client a time to take each piece of a stream.
type streamWriter struct {
	*answer
	patience time.Duration
}

// Write implements io.Writer.
func (w *streamWriter) Write(p []byte) (int, error) {
	w.hurry()
	return w.answer.Write(p)
}

// FlushError serves http.ResponseController.
func (w *streamWriter) FlushError() error {
	w.hurry()
	w.WriteHeader(http.StatusOK)
	return http.NewResponseController(w.answer).Flush()
}

func (w *streamWriter) hurry() {
	_ = http.NewResponseController(w.answer).SetWriteDeadline(time.Now().Add(w.patience)) // a client that is gone needs none
}

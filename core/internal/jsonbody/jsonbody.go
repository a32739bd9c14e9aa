// Package jsonbody reads and writes the JSON bodies of what the core answers itself over HTTP.
//
// Floor 0. It must not know what a body is about, nor who asks: it refuses what is not one JSON value of the wanted form.
package jsonbody

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/platformd/platformd/plugin-api/problem"
)

// Max is how much a body may hold, in bytes.
const Max = 64 << 10

// Read reads a body that holds one JSON value and no key that into does not have. An error is a *problem.Problem: 413 for a body
// that is too long, else 400.
func Read(w http.ResponseWriter, r *http.Request, into any) error { return ReadUpTo(w, r, Max, into) }

// ReadUpTo is Read for a body that may have so many bytes instead of Max.
func ReadUpTo(w http.ResponseWriter, r *http.Request, most int64, into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		return Unread(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return problem.Invalid("the body is not the JSON that is wanted here: %v (fix: see which keys this route takes)", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return problem.Invalid("the body goes on after its JSON value (fix: send one object)")
	}
	return nil
}

// Unread is the problem of a body of any kind that could not be read to its end because of err.
func Unread(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return problem.New(http.StatusRequestEntityTooLarge, "too_large",
			fmt.Sprintf("the body has more than %d bytes (fix: send less)", tooLarge.Limit))
	}
	return problem.Invalid("the body could not be read: %v (fix: send it again)", err)
}

// Write answers with what nobody on the way may keep.
func Write(w http.ResponseWriter, status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client may be gone; there is nobody left to tell
	return nil
}

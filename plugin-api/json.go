package pluginapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/problem"
)

// WriteJSON sends v as the response's JSON body with the given HTTP status.
func WriteJSON(w http.ResponseWriter, statusCode int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the response: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(statusCode)
	_, err = w.Write(append(body, '\n'))
	return err
}

// ReadJSON decodes the request's body, which must be exactly one JSON value without unknown fields, into v. Its errors are
// ready to be returned from a Handler: 400 for bad JSON, 413 for a body over the route's limit.
func ReadJSON(r *http.Request, v any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return badBody(err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return status.Error(codes.InvalidArgument, "the body must hold exactly one JSON value: remove what follows it")
	}
	return nil
}

func badBody(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return problem.New(http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("the body is over %d bytes", tooLarge.Limit))
	case errors.Is(err, io.EOF):
		return status.Error(codes.InvalidArgument, "the body is empty: send a JSON object")
	}
	return status.Errorf(codes.InvalidArgument, "the body is not the JSON expected here: %v", err)
}

package main

import (
	"fmt"
	"io"
	"net/http"

	httppb "google.golang.org/genproto/googleapis/rpc/http"
	"google.golang.org/grpc"
)

// caller is the front's half.
type caller struct{ conn *grpc.ClientConn }

func (c caller) serve(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	req := &httppb.HttpRequest{Method: r.Method, Uri: r.URL.RequestURI(), Headers: toList(r.Header), Body: body}
	answer := &httppb.HttpResponse{}
	if err := c.conn.Invoke(r.Context(), method, req, answer); err != nil {
		return fmt.Errorf("call the plugin: %w", err)
	}
	for _, h := range answer.GetHeaders() {
		w.Header().Add(h.GetKey(), h.GetValue())
	}
	w.WriteHeader(int(answer.GetStatus()))
	_, err = w.Write(answer.GetBody())
	return err
}

// readBody allocates once where the length is known.
func readBody(r *http.Request) ([]byte, error) {
	if r.ContentLength < 0 {
		return io.ReadAll(r.Body)
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, body)
	return body, err
}

func toList(header http.Header) []*httppb.HttpHeader {
	list := make([]*httppb.HttpHeader, 0, len(header))
	for key, values := range header {
		for _, value := range values {
			list = append(list, &httppb.HttpHeader{Key: key, Value: value})
		}
	}
	return list
}

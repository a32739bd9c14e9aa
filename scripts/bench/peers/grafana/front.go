package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/grafana/grafana-plugin-sdk-go/backend/grpcplugin"
	"github.com/grafana/grafana-plugin-sdk-go/genproto/pluginv2"
)

// caller is the front's half.
type caller struct{ resources grpcplugin.ResourceClient }

func (c caller) serve(w http.ResponseWriter, r *http.Request) error {
	req, err := toResource(r)
	if err != nil {
		return err
	}
	answer, err := c.resources.CallResource(r.Context(), req)
	if err != nil {
		return fmt.Errorf("call the plugin: %w", err)
	}
	for first := true; ; first = false {
		part, err := answer.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the plugin's answer: %w", err)
		}
		if err := send(w, part, first); err != nil {
			return err
		}
	}
}

// toResource reads the body whole: a call has one request.
func toResource(r *http.Request) (*pluginv2.CallResourceRequest, error) {
	body := make([]byte, max(0, r.ContentLength))
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	headers := make(map[string]*pluginv2.StringList, len(r.Header))
	for key, values := range r.Header {
		headers[key] = &pluginv2.StringList{Values: values}
	}
	return &pluginv2.CallResourceRequest{
		PluginContext: &pluginv2.PluginContext{OrgId: 1, PluginId: "bench"},
		Method:        r.Method, Path: r.URL.Path, Url: r.URL.RequestURI(), Headers: headers, Body: body,
	}, nil
}

// send writes a part of the answer and flushes it, unless it is known to be the only one.
func send(w http.ResponseWriter, part *pluginv2.CallResourceResponse, first bool) error {
	if first {
		for key, values := range part.GetHeaders() {
			w.Header()[key] = values.GetValues()
		}
		w.WriteHeader(int(part.GetCode()))
	}
	if _, err := w.Write(part.GetBody()); err != nil {
		return err
	}
	if w.Header().Get("Content-Length") != "" {
		return nil
	}
	return http.NewResponseController(w).Flush()
}

// Command crier is a module that calls the echo service of another one as it is told to, with the lines of the request's body as
// texts. Its query is sent as metadata. The end-to-end suites install it, also under other names.
package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/plugintest/echo"
)

func main() {
	echo.Describe() // it is built to call that, as generated code would say
	c := &crier{}
	pluginapi.Serve(pluginapi.Module{
		Routes: map[string]pluginapi.Handler{"call": c.call, "background": c.background, "dependency": c.dependency},
		Init:   func(_ context.Context, core *pluginapi.Core) error { c.core = core; return nil },
		Drain:  func(ctx context.Context) error { return c.farewell(ctx, "draining") },
		Stop:   func(ctx context.Context) error { return c.farewell(ctx, "stopping") },
	})
}

type crier struct{ core *pluginapi.Core }

// answer is what came of a call.
type answer struct {
	Answers []string `json:"answers"`
	Code    string   `json:"code"`
	Error   string   `json:"error"`
}

// call fails as the call does, unless the client wants to be told the error.
func (c *crier) call(w http.ResponseWriter, r *http.Request) error { return c.cry(r.Context(), w, r) }

// background calls as a module does that works for nobody.
func (c *crier) background(w http.ResponseWriter, r *http.Request) error {
	return c.cry(context.Background(), w, r)
}

func (c *crier) cry(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	for name, values := range r.URL.Query() {
		ctx = metadata.AppendToOutgoingContext(ctx, name, values[0])
	}
	texts := strings.Split(string(body), "\n")
	heard, err := echo.Do(ctx, c.core.Module(r.PathValue("module")), r.PathValue("method"), texts...)
	if err != nil && r.Header.Get("X-Tell") == "" {
		return err
	}
	told := answer{Answers: heard, Code: status.Code(err).String()}
	if err != nil {
		told.Error = err.Error()
	}
	return pluginapi.WriteJSON(w, http.StatusOK, told)
}

// farewell calls once more, and writes down what it hears.
func (c *crier) farewell(ctx context.Context, text string) error {
	heard, err := echo.Do(ctx, c.core.Module("parrot"), echo.Tell, text)
	c.core.Log.Info("farewell", "heard", strings.Join(heard, ", "), "error", err)
	return nil // whether it may call parrot is another's question
}

// dependency tells what the first news of parrot is, and who provides the service.
func (c *crier) dependency(w http.ResponseWriter, r *http.Request) error {
	found, err := c.core.Resolve(r.Context(), echo.Service)
	if err != nil {
		return err
	}
	for news, err := range c.core.Watch(r.Context(), "parrot") {
		if err != nil {
			return err
		}
		return pluginapi.WriteJSON(w, http.StatusOK, []pluginapi.Dependency{found, news})
	}
	return errors.New("the core says nothing")
}

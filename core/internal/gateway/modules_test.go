package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/platformd/platformd/core/internal/instance/instancetest"
	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/link"
)

// TestMain also is the module's main, in the processes that the tests launch.
func TestMain(m *testing.M) {
	instancetest.Main(map[string]func() pluginapi.Module{
		"echo": echoModule, "billing": echoModule, "ids": idsModule, "mount": mountModule,
		"once": onceModule,
	})
	goleak.VerifyTestMain(m)
}

// echoManifest belongs to echoModule.
const echoManifest = `
apiVersion: platformd/v1
name: echo
version: 1.0.0
description: Says what reached it.
requires: { optional: { billing: ">=0.1" } }
permissions:
  - { name: echo.thing.read, description: Read things, roles: [member] }
routes:
  - { id: root,    method: GET,  path: /,                access: public }
  - { id: public,  method: GET,  path: "/public/{name}", access: public }
  - { id: members, method: GET,  path: /members,         access: authenticated }
  - { id: secret,  method: GET,  path: /secret,          permission: echo.thing.read }
  - { id: files,   method: GET,  path: "/files/{path...}", access: public }
  - { id: post,    method: POST, path: /post,            access: public, maxBody: 1KiB }
  - { id: upload,  method: POST, path: /upload,          access: public, stream: body, maxBody: 4MiB }
  - { id: witness, method: POST, path: /witness,         access: public, stream: body, maxBody: 64KiB }
  - { id: slow,    method: GET,  path: /slow,            access: public, timeout: 250ms }
  - { id: patient, method: GET,  path: /patient,         access: public }
  - { id: die,     method: POST, path: /die,             access: public }
  - { id: needy,   method: GET,  path: /needy,           access: public, needs: [billing] }
  - { id: feed,    method: GET,  path: /feed,            access: public, stream: sse }
  - { id: late,    method: GET,  path: /late,            access: public, stream: sse, timeout: 250ms }
  - { id: socket,  method: GET,  path: /socket,          access: public, stream: websocket }
  - { id: tunnel,  method: GET,  path: /tunnel,          access: public, stream: websocket }
  - { id: garbage, method: GET,  path: "/garbage/{kind}", access: public }
  - { id: big,     method: GET,  path: /big,             access: public, stream: body }
`

// seen is what a module saw of a request.
type seen struct {
	Route     string
	Params    []link.Param
	Path      string
	Query     string
	Principal link.Principal
	Ticket    string
	Header    http.Header
	Trailer   http.Header
	Body      string
	Left      time.Duration // of the route's time; 0 = no deadline
}

func echoModule() pluginapi.Module {
	module := pluginapi.Module{Routes: map[string]pluginapi.Handler{
		"slow": awaitCancel, "patient": patient, "late": awaitCancel, "feed": feed, "socket": socket, "garbage": garbage,
		"tunnel": tunnel, "witness": witness,
		"big": download,
		"die": func(http.ResponseWriter, *http.Request) error { os.Exit(7); return nil },
	}}
	for _, id := range strings.Fields("root public members secret files post upload needy") {
		module.Routes[id] = echo
	}
	return module
}

func echo(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	call := link.FromContext(r.Context())
	answer := seen{
		Route: call.Route, Params: call.Params, Path: r.URL.Path, Query: r.URL.RawQuery,
		Principal: pluginapi.PrincipalFrom(r.Context()), Ticket: call.Ticket,
		Header: r.Header, Trailer: r.Trailer, Body: string(body),
	}
	if deadline, ok := r.Context().Deadline(); ok {
		answer.Left = time.Until(deadline)
	}
	return pluginapi.WriteJSON(w, http.StatusOK, answer)
}

func awaitCancel(_ http.ResponseWriter, r *http.Request) error {
	<-r.Context().Done()
	return r.Context().Err()
}

// patient says that it has begun, and answers when the file named by the query is there.
func patient(w http.ResponseWriter, r *http.Request) error {
	if err := os.WriteFile(r.URL.Query().Get("began"), nil, 0o600); err != nil {
		return err
	}
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case <-r.Context().Done():
			return r.Context().Err()
		case <-tick.C:
		}
		if _, err := os.Stat(r.URL.Query().Get("until")); err == nil {
			tick.Stop()
			_, err := fmt.Fprintln(w, "done")
			return err
		}
	}
}

// feed sends one event at once, and then nothing until it is ended.
func feed(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "text/event-stream")
	if _, err := fmt.Fprint(w, "data: first\n\n"); err != nil {
		return err
	}
	if err := http.NewResponseController(w).Flush(); err != nil {
		return err
	}
	<-r.Context().Done()
	return nil
}

func socket(w http.ResponseWriter, r *http.Request) error {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return nil // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }()
	for {
		kind, message, err := conn.Read(context.WithoutCancel(r.Context()))
		if err != nil {
			return nil
		}
		if err := conn.Write(r.Context(), kind, append([]byte("echo "), message...)); err != nil {
			return nil
		}
	}
}

// tunnel echoes bytes as they are.
func tunnel(w http.ResponseWriter, _ *http.Request) error {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	const agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	if _, err := io.WriteString(conn, agreed); err != nil {
		return err
	}
	_, _ = io.Copy(conn, buffered) // until the client leaves
	return nil
}

// download sends 1 MiB for each n in the query.
func download(w http.ResponseWriter, r *http.Request) error {
	chunk := make([]byte, 1<<20)
	for range len(r.URL.Query()["n"]) {
		if _, err := w.Write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// witness notes in the file named by the query whether a body came whole.
func witness(_ http.ResponseWriter, r *http.Request) error {
	saw := "whole"
	_, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		saw = "part"
	}
	return errors.Join(err, os.WriteFile(r.URL.Query().Get("file"), []byte(saw), 0o600))
}

// garbage answers what no server should.
func garbage(w http.ResponseWriter, r *http.Request) error {
	raw := map[string]string{
		"crlf":    "HTTP/1.1 200 OK\r\nX-A: b\rX-Evil: c\r\nContent-Length: 0\r\n\r\n",
		"low":     "HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",
		"high":    "HTTP/1.1 1000 High\r\nContent-Length: 0\r\n\r\n",
		"noise":   "what?\r\n\r\n",
		"silence": "",
		"folded":  "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
		"lengths": "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"short":   "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"hop":     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: 5\r\nProxy-Authenticate: Basic\r\nX-Fine: yes\r\n\r\nok",
	}[r.PathValue("kind")]
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := buffered.WriteString(raw); err != nil {
		return err
	}
	return buffered.Flush()
}

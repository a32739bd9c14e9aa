package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
	pluginapi "github.com/platformd/platformd/plugin-api"
)

// onceManifest belongs to onceModule, whose every route notes what comes.
const onceManifest = `
apiVersion: platformd/v1
name: once
version: 1.0.0
description: Notes what reaches it.
routes:
  - { id: get,     method: GET,     path: /thing, access: public }
  - { id: options, method: OPTIONS, path: /thing, access: public }
  - { id: put,     method: PUT,     path: /thing, access: public, timeout: 60s }
  - { id: delete,  method: DELETE,  path: /thing, access: public }
  - { id: post,    method: POST,    path: /thing, access: public }
  - { id: patch,   method: PATCH,   path: /thing, access: public }
  - { id: keyed,   method: POST,    path: /keyed, access: public, idempotencyKey: true }
  - { id: fixed,   method: PATCH,   path: /keyed, access: public, idempotencyKey: true }
  - { id: feed,    method: GET,     path: /feed,  access: public, stream: sse }
  - { id: socket,  method: GET,     path: /socket, access: public, stream: websocket }
  - { id: cut,     method: GET,     path: /cut,   access: public }
`

func onceModule() pluginapi.Module {
	module := pluginapi.Module{Routes: map[string]pluginapi.Handler{"cut": noteAndCut}}
	for _, id := range strings.Fields("get options put delete post patch keyed fixed feed socket") {
		module.Routes[id] = noteAndWait
	}
	return module
}

// noted is one request as a module saw it.
type noted struct {
	Method    string
	RequestID string
	SHA256    string // of what it has read of the body
	Length    int64
	Trailer   string
	Left      time.Duration
}

// note adds the request to the file that it names; of its body it reads as much as it is told, or all.
func note(r *http.Request) (noted, error) {
	var body io.Reader = r.Body
	if r.URL.Query().Has("part") {
		body = io.LimitReader(body, 100)
	}
	hash := sha256.New()
	length, err := io.Copy(hash, body)
	if err != nil {
		return noted{}, err
	}
	deadline, _ := r.Context().Deadline()
	n := noted{
		Method: r.Method, RequestID: r.Header.Get("X-Request-Id"), SHA256: hex.EncodeToString(hash.Sum(nil)), Length: length,
		Trailer: r.Trailer.Get("Mark"), Left: time.Until(deadline),
	}
	line, err := json.Marshal(n)
	if err != nil {
		return noted{}, err
	}
	file, err := os.OpenFile(r.URL.Query().Get("notes"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return noted{}, err
	}
	_, err = file.Write(append(line, '\n'))
	_ = file.Close()
	return n, err
}

// noteAndWait answers when the file "until" is there.
func noteAndWait(w http.ResponseWriter, r *http.Request) error {
	n, err := note(r)
	if err != nil {
		return err
	}
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case <-r.Context().Done():
			return r.Context().Err()
		case <-tick.C:
		}
		if _, err := os.Stat(r.URL.Query().Get("notes") + ".until"); err == nil {
			tick.Stop()
			return pluginapi.WriteJSON(w, http.StatusOK, n)
		}
	}
}

// noteAndCut ends the connection without an answer, and lives on.
func noteAndCut(_ http.ResponseWriter, r *http.Request) error {
	_, err := note(r)
	if err == nil {
		panic(http.ErrAbortHandler)
	}
	return err
}

// accident is a request whose instance is killed when it has the request.
type accident struct {
	*fixture
	launch func(t testing.TB, launcher *instance.Launcher, module string) *instance.Instance
	with   *instance.Launcher
	victim *instance.Instance
	notes  string
}

// transports are ways to launch a module.
func transports() map[string]func(testing.TB, *instance.Launcher, string) *instance.Instance {
	return map[string]func(testing.TB, *instance.Launcher, string) *instance.Instance{
		"link": instancetest.Launch, "http1": instancetest.LaunchHTTP1,
	}
}

func newAccident(
	t *testing.T, launch func(testing.TB, *instance.Launcher, string) *instance.Instance, change func(*Deps),
) *accident {
	t.Helper()
	f := start(t, func(d *Deps) {
		d.Server.HoldTimeout = 2 * soon
		if change != nil {
			change(d)
		}
	})
	require.Empty(t, f.gateway.SetModules([]*catalog.Module{parse(t, onceManifest)}, nil))
	a := &accident{
		fixture: f, launch: launch, with: instancetest.Launcher(t), notes: filepath.Join(t.TempDir(), "notes"),
	}
	a.victim = launch(t, a.with, "once")
	f.registry.Put("once", a.victim)
	return a
}

// notesOf returns what the module has noted.
func (a *accident) notesOf() (all []noted) {
	a.t.Helper()
	text, err := os.ReadFile(a.notes)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(a.t, err)
	for line := range bytes.Lines(text) {
		var n noted
		require.NoError(a.t, json.Unmarshal(line, &n))
		all = append(all, n)
	}
	return all
}

// kill ends the instance, as a supervisor sees it that relaunches it.
func (a *accident) kill() {
	a.t.Helper()
	require.NoError(a.t, syscall.Kill(a.victim.PID(), syscall.SIGKILL))
	<-a.victim.Done()
	a.registry.Withdraw("once", a.victim, "it is restarting", true)
}

// relaunch makes the next instance ready, which answers at once.
func (a *accident) relaunch() {
	a.t.Helper()
	require.NoError(a.t, os.WriteFile(a.notes+".until", nil, 0o600))
	a.victim = a.launch(a.t, a.with, "once")
	a.registry.Put("once", a.victim)
}

// suffer sends the request, kills the instance once that has noted it, and makes another one ready.
func (a *accident) suffer(r *http.Request) answered {
	a.t.Helper()
	query := r.URL.Query()
	query.Set("notes", a.notes)
	r.URL.RawQuery = query.Encode()
	done := make(chan answered, 1)
	go func() { done <- a.send(r) }()
	require.Eventually(a.t, func() bool { return len(a.notesOf()) == 1 }, soon, time.Millisecond)
	a.kill()
	a.relaunch()
	return <-done
}

// send fails the test if there is no whole answer.
func (a *accident) send(r *http.Request) (got answered) {
	response, err := a.client.Do(r)
	if err != nil {
		a.t.Error(err)
		return got
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		a.t.Error(err)
	}
	return answered{response.StatusCode, response.Header, string(text), response.Close}
}

func (a *accident) request(method, path string, body io.Reader) *http.Request {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), method, a.scheme+"://"+a.addr+"/api/v1/once"+path, body)
	require.NoError(a.t, err)
	return r
}

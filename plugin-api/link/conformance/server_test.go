package conformance

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/http1"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

func TestHandlerSeesNothingOfTheCoresHeaders(t *testing.T) {
	each(t, handlerSeesNothingOfTheCoresHeaders)
}

func handlerSeesNothingOfTheCoresHeaders(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.Header, r.Trailer) })
	rig.Call = func(*http.Request) *link.Call {
		return &link.Call{Route: "r", Path: "/", Params: []link.Param{{Name: "a"}}, Principal: link.Anonymous(), Timeout: time.Hour}
	}
	_, body := rig.Do(http.MethodGet, "/", nil, func(r *http.Request) { r.Header.Set("X-Mine", "1") })
	require.Contains(t, body, "X-Mine")
	require.NotContains(t, strings.ToLower(body), "platformd")
}

func TestHandlerGetsLargeHeads(t *testing.T) { each(t, handlerGetsLargeHeads) }

func handlerGetsLargeHeads(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, len(r.Header.Get("X-Large"))) })
	_, body := rig.Do(http.MethodGet, "/", nil, func(r *http.Request) { r.Header.Set("X-Large", strings.Repeat("x", 100<<10)) })
	require.Equal(t, fmt.Sprint(100<<10), body)
}

func TestServerLogsPanics(t *testing.T) { each(t, serverLogsPanics) }

func serverLogsPanics(t *testing.T, on transport) {
	var text linktest.Buffer
	log := hclog.New(&hclog.LoggerOptions{Output: &text})
	rig := on.rig(t)
	server := on.serve(rig.Listener, http1.ServerConfig{Secret: linktest.Secret(), Log: log, Handler: http.HandlerFunc(
		func(http.ResponseWriter, *http.Request) { panic("at the disco") })})
	rig.Front.Start()
	res, _ := rig.Do(http.MethodGet, "/", nil)
	require.Equal(t, http.StatusBadGateway, res.StatusCode, "this request only")
	require.NoError(t, server.Close())
	require.Contains(t, text.String(), "[ERROR] ")
	require.Contains(t, text.String(), "at the disco")
}

// waiting returns a rig whose module has one request under way, which ends when release is closed.
func waiting(t *testing.T, on transport, release <-chan struct{}) (*linktest.Rig, server, <-chan string) {
	t.Helper()
	started := make(chan struct{})
	rig := on.rig(t)
	server := on.serve(rig.Listener, http1.ServerConfig{Secret: linktest.Secret(), Handler: http.HandlerFunc(func(
		w http.ResponseWriter, r *http.Request,
	) {
		close(started)
		select {
		case <-release:
			_, _ = io.WriteString(w, "finished")
		case <-r.Context().Done():
		}
	})})
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	rig.Front.Start()
	answer := make(chan string, 1)
	go func() {
		_, body := rig.Do(http.MethodGet, "/", nil)
		answer <- body
	}()
	<-started
	return rig, server, answer
}

func TestShutdownWaitsForRequests(t *testing.T) { each(t, shutdownWaitsForRequests) }

func shutdownWaitsForRequests(t *testing.T, on transport) {
	release := make(chan struct{})
	rig, server, answer := waiting(t, on, release)
	stopped := make(chan error, 1)
	go func() { stopped <- server.Shutdown(t.Context()) }()
	require.Eventually(t, func() bool { return !reachable(rig.Socket) }, linktest.Patience, time.Millisecond,
		"nothing new is accepted")
	require.Empty(t, stopped)
	close(release)
	require.Equal(t, "finished", <-answer)
	require.NoError(t, <-stopped)
}

func TestShutdownWaitsNoLongerThanItMay(t *testing.T) { each(t, shutdownWaitsNoLongerThanItMay) }

func shutdownWaitsNoLongerThanItMay(t *testing.T, on transport) {
	_, server, answer := waiting(t, on, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, server.Shutdown(ctx), context.DeadlineExceeded)
	require.Empty(t, answer)
	require.NoError(t, server.Close())
	require.Empty(t, <-answer)
}

func TestShutdownEndsUpgradedConnections(t *testing.T) { each(t, shutdownEndsUpgradedConnections) }

func shutdownEndsUpgradedConnections(t *testing.T, on transport) {
	ended := make(chan struct{})
	rig := on.rig(t, upgradable)
	server := on.serve(rig.Listener, http1.ServerConfig{Secret: linktest.Secret(), Handler: http.HandlerFunc(func(
		w http.ResponseWriter, r *http.Request,
	) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer close(ended)
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
		<-r.Context().Done()
	})})
	rig.Front.Start()
	c := rig.Dial()
	_, err := io.WriteString(c, switchRequest)
	require.NoError(t, err)
	_, err = c.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, server.Shutdown(t.Context()))
	<-ended
	_ = c.Close()
	require.NoError(t, rig.Result())
}

func reachable(socket string) bool {
	c, err := net.Dial("unix", socket)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

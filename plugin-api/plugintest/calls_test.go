package plugintest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/plugintest"
	"github.com/platformd/platformd/plugin-api/plugintest/echo"
)

var ada = pluginapi.Principal{Kind: "user", ID: "u1", Name: "Ada"}

// manifestOf writes a module.yaml of the module front.
func manifestOf(t *testing.T, rest string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "module.yaml")
	require.NoError(t, os.WriteFile(path, []byte("apiVersion: platformd/v1\nname: front\nversion: 1.0.0\n"+rest), 0o600))
	return path
}

const consumes = "requires: { modules: { shop: \"*\" }, optional: { none: \"*\" } }\n" +
	"services: { consumes: [" + echo.Service + "] }\n" +
	"permissions: [{ name: front.a.b, description: x }]\n" +
	"routes: [{ id: call, method: POST, path: /call, access: public }]\n"

// front is a module that calls shop when it is asked.
type front struct {
	core *pluginapi.Core
	call func(ctx context.Context, shop grpc.ClientConnInterface) error
}

func (f *front) module() pluginapi.Module {
	return pluginapi.Module{
		Init: func(_ context.Context, core *pluginapi.Core) error { f.core = core; return nil },
		Routes: map[string]pluginapi.Handler{"call": func(w http.ResponseWriter, r *http.Request) error {
			return f.call(r.Context(), f.core.Module("shop"))
		}},
	}
}

// shop answers who calls and on whose behalf, and what it hears.
func shop(ctx context.Context, call *echo.Call) error {
	who := pluginapi.PrincipalFrom(ctx)
	heard := []string{fmt.Sprintf("%s for %s %s", pluginapi.CallerFrom(ctx), who.Kind, who.Name)}
	for {
		text, err := call.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		heard = append(heard, text)
	}
	if call.Method == echo.Count || call.Method == echo.Chat {
		for _, text := range heard {
			if err := call.Send(text); err != nil {
				return err
			}
		}
		return nil
	}
	return call.Send(strings.Join(heard, ", "))
}

func provide(handler echo.Handler) map[string]func(*grpc.Server) {
	return map[string]func(*grpc.Server){"shop": func(s *grpc.Server) { echo.Register(s, handler) }}
}

func TestAModuleCallsAnother(t *testing.T) {
	t.Parallel()
	f := &front{}
	server := plugintest.Start(t, f.module(), plugintest.Options{Manifest: manifestOf(t, consumes), Provide: provide(shop)})
	for method, want := range map[string][]string{
		echo.Ask:     {"front for user Ada, a"},
		echo.Tell:    {"front for user Ada, a"},
		echo.Count:   {"front for user Ada", "a"},
		echo.Collect: {"front for user Ada, a, b"},
		echo.Chat:    {"front for user Ada", "a", "b"},
	} {
		texts := []string{"a"}
		if method == echo.Collect || method == echo.Chat {
			texts = append(texts, "b")
		}
		var got []string
		f.call = func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
			got, err = echo.Do(ctx, conn, method, texts...)
			return err
		}
		answer := server.As(ada).Post("/call", nil)
		require.Equal(t, http.StatusOK, answer.Status, "%s: %s", method, answer.Body)
		require.Equal(t, want, got, method)
	}
	background, err := echo.Do(t.Context(), f.core.Module("shop"), echo.Count, "x")
	require.NoError(t, err)
	require.Equal(t, []string{"front for module front", "x"}, background, "outside of a request it calls of its own accord")
}

func TestMetadataGoesBothWays(t *testing.T) {
	t.Parallel()
	var seen metadata.MD
	var trace string
	f := &front{}
	server := plugintest.Start(t, f.module(), plugintest.Options{Manifest: manifestOf(t, consumes), Provide: provide(
		func(ctx context.Context, call *echo.Call) error {
			seen, _ = metadata.FromIncomingContext(ctx)
			trace = pluginapi.TraceParentFrom(ctx)
			if err := grpc.SetHeader(ctx, metadata.Pairs("head", "1")); err != nil {
				return err
			}
			if err := grpc.SetTrailer(ctx, metadata.Pairs("tail", "2")); err != nil {
				return err
			}
			return call.Send("x")
		})})
	var header, trailer metadata.MD
	f.call = func(ctx context.Context, conn grpc.ClientConnInterface) error {
		ctx = metadata.AppendToOutgoingContext(ctx, "mine", "3", "platformd-caller", "billing", "platformd-secret", "x")
		stream, err := echo.Open(ctx, conn, echo.Chat)
		if err != nil {
			return err
		}
		if _, err := stream.Receive(); err != nil {
			return err
		}
		header, err = stream.Header()
		if _, end := stream.Receive(); end == nil {
			return errors.New("it goes on")
		}
		trailer = stream.Trailer()
		return err
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL()+"/call", nil)
	require.NoError(t, err)
	request.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	http.DefaultClient.CloseIdleConnections()
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Equal(t, []string{"3"}, seen.Get("mine"))
	require.Equal(t, request.Header.Get("Traceparent"), trace)
	require.Equal(t, []string{"1"}, header.Get("head"))
	require.Equal(t, []string{"2"}, trailer.Get("tail"))
	for name := range seen {
		require.False(t, strings.HasPrefix(name, "platformd-"), "%s is not for handlers", name)
	}
}

func TestWhatIsNotDeclaredIsRefused(t *testing.T) {
	t.Parallel()
	f := &front{}
	manifest := strings.ReplaceAll(consumes, "["+echo.Service+"]", "["+echo.Service+"/Ask, "+echo.Service+"/Chat]")
	server := plugintest.Start(t, f.module(), plugintest.Options{Manifest: manifestOf(t, manifest), Provide: provide(shop)})
	_, err := echo.Do(t.Context(), f.core.Module("shop"), echo.Ask, "a")
	require.NoError(t, err)
	_, err = echo.Do(t.Context(), f.core.Module("none"), echo.Ask, "a")
	require.Equal(t, codes.Unavailable, status.Code(err))
	for name, call := range map[string]func(context.Context, grpc.ClientConnInterface) error{
		"method": func(ctx context.Context, shop grpc.ClientConnInterface) error {
			_, err := echo.Do(ctx, shop, echo.Tell, "a")
			return err
		},
		"stream": func(ctx context.Context, shop grpc.ClientConnInterface) error {
			_, err := echo.Do(ctx, shop, echo.Count, "a")
			return err
		},
		"module": func(ctx context.Context, _ grpc.ClientConnInterface) error {
			_, err := echo.Do(ctx, f.core.Module("other"), echo.Ask, "a")
			return err
		},
	} {
		f.call = call
		err := call(t.Context(), f.core.Module("shop"))
		require.Equal(t, codes.PermissionDenied, status.Code(err), name)
		require.ErrorContains(t, err, "module front may not call")
		require.ErrorContains(t, err, "(fix: name ")
		answer := server.Anonymous().Post("/call", nil)
		require.Equal(t, http.StatusInternalServerError, answer.Status, "%s: the client can do nothing about it", name)
		require.NotContains(t, string(answer.Body), "module.yaml")
	}
}

func TestAModuleThatConsumesNothing(t *testing.T) {
	t.Parallel()
	f := &front{}
	plugintest.Start(t, f.module(), plugintest.Options{
		Manifest: manifestOf(t, "routes: [{ id: call, method: POST, path: /call, access: public }]\n"),
	})
	for _, method := range []string{echo.Ask, echo.Chat} {
		_, err := echo.Do(t.Context(), f.core.Module("shop"), method, "a")
		require.Equal(t, codes.PermissionDenied, status.Code(err))
		require.ErrorContains(t, err, "(fix: name the service under services.consumes")
	}
	for _, rest := range []string{"", "requires: { modules: { shop: \"*\" } }\n", strings.ReplaceAll(consumes, "shop", "shops")} {
		_, err := plugintest.Try(t, pluginapi.Module{}, plugintest.Options{Manifest: manifestOf(t, rest), Provide: provide(shop)})
		require.ErrorContains(t, err, "module.yaml calls nothing of shop")
	}
}

// What another module answers, a client gets as far as it concerns the request.
func TestWhatAClientGetsOfAFailedCall(t *testing.T) {
	t.Parallel()
	f := &front{}
	var answers error
	server := plugintest.Start(t, f.module(), plugintest.Options{Manifest: manifestOf(t, consumes), Provide: provide(
		func(context.Context, *echo.Call) error { return answers })})
	const said = "no plan for ada"
	for _, c := range []struct {
		answers error
		status  int
		shown   bool // whether the callee's words are
	}{
		{status.Error(codes.NotFound, said), http.StatusNotFound, true},
		{status.Error(codes.InvalidArgument, said), http.StatusBadRequest, true},
		{status.Error(codes.PermissionDenied, said), http.StatusForbidden, true},
		{status.Error(codes.ResourceExhausted, said), http.StatusTooManyRequests, true},
		{fmt.Errorf("the password is x: %w", status.Error(codes.Aborted, said)), http.StatusConflict, true},
		{status.Error(codes.Unavailable, said), http.StatusServiceUnavailable, false},
		{status.Error(codes.DeadlineExceeded, said), http.StatusGatewayTimeout, false},
		{status.Error(codes.Unauthenticated, said), http.StatusInternalServerError, false},
		{status.Error(codes.Unimplemented, said), http.StatusInternalServerError, false},
		{status.Error(codes.Internal, said), http.StatusInternalServerError, false},
		{errors.New(said), http.StatusInternalServerError, false},
	} {
		answers = c.answers
		for _, method := range []string{echo.Ask, echo.Count} {
			var failed error
			f.call = func(ctx context.Context, conn grpc.ClientConnInterface) error {
				_, failed = echo.Do(ctx, conn, method, "x")
				return fmt.Errorf("find the plan: %w", failed)
			}
			answer := server.Anonymous().Post("/call", nil)
			require.Equal(t, c.status, answer.Status, "%v", c.answers)
			require.Equal(t, c.shown, strings.Contains(string(answer.Body), said), "%v: %s", c.answers, answer.Body)
			require.NotContains(t, string(answer.Body), "password")
			var call *pluginapi.CallError
			require.ErrorAs(t, failed, &call)
			require.Equal(t, "shop", call.Module)
			require.Equal(t, echo.Service+"/"+method, call.Method)
			require.NotContains(t, failed.Error(), "password")
			if status.Code(c.answers) != codes.Unknown {
				require.Equal(t, status.Code(c.answers), status.Code(failed))
			} else {
				require.Equal(t, codes.Internal, status.Code(failed))
				require.NotContains(t, failed.Error(), said)
			}
		}
	}
}

const provides = "services: { provides: [" + echo.Service + "] }\ngrants: { authz: [check] }\n" +
	"permissions: [{ name: front.a.b, description: x }]\n"

func serving(handler echo.Handler) pluginapi.Module {
	return pluginapi.Module{Services: func(s *grpc.Server) { echo.Register(s, handler) }}
}

func TestAModuleProvides(t *testing.T) {
	t.Parallel()
	module := serving(shop)
	server := plugintest.Start(t, module, plugintest.Options{Manifest: manifestOf(t, provides)})
	for _, method := range []string{echo.Count, echo.Chat} {
		got, err := echo.Do(t.Context(), server.Services("blog", ada), method, "x")
		require.NoError(t, err)
		require.Equal(t, []string{"blog for user Ada", "x"}, got)
	}
	got, err := echo.Do(t.Context(), server.Services("blog", ada), echo.Ask, "x")
	require.NoError(t, err)
	require.Equal(t, []string{"blog for user Ada, x"}, got)
}

// A call is on behalf of somebody, and so is what the module asks in turn.
func TestAServiceAsksOnBehalfOfItsCaller(t *testing.T) {
	t.Parallel()
	var core *pluginapi.Core
	module := serving(func(ctx context.Context, call *echo.Call) error {
		if err := core.Authz.Require(ctx, "front.a.b"); err != nil {
			return err
		}
		return call.Send("allowed")
	})
	module.Init = func(_ context.Context, c *pluginapi.Core) error { core = c; return nil }
	server := plugintest.Start(t, module, plugintest.Options{Manifest: manifestOf(t, provides)})
	for _, method := range []string{echo.Ask, echo.Count} {
		got, err := echo.Do(t.Context(), server.Services("blog", ada, "front.a.b"), method, "x")
		require.NoError(t, err)
		require.Equal(t, []string{"allowed"}, got)
		_, err = echo.Do(t.Context(), server.Services("blog", ada), method, "x")
		require.Equal(t, codes.PermissionDenied, status.Code(err))
	}
}

func TestPanicsAndErrorsOfAService(t *testing.T) {
	t.Parallel()
	server := plugintest.Start(t, serving(func(_ context.Context, call *echo.Call) error {
		if text, _ := call.Receive(); text == "panic" {
			panic("hunter2")
		}
		return errors.New("hunter2")
	}), plugintest.Options{Manifest: manifestOf(t, provides)})
	for _, method := range []string{echo.Ask, echo.Count} {
		for _, text := range []string{"panic", "error"} {
			_, err := echo.Do(t.Context(), server.Services("blog", ada), method, text)
			require.Equal(t, codes.Internal, status.Code(err))
			require.NotContains(t, err.Error(), "hunter2")
		}
	}
}

func TestTheBinaryServesWhatTheManifestSays(t *testing.T) {
	t.Parallel()
	try := func(module pluginapi.Module, rest string) error {
		_, err := plugintest.Try(t, module, plugintest.Options{Manifest: manifestOf(t, rest)})
		return err
	}
	require.ErrorContains(t, try(serving(shop), ""), "module.yaml provides none")
	require.ErrorContains(t, try(serving(shop), "services: { provides: [a.B] }\n"), "a.B is in module.yaml, but the binary does not")
	require.ErrorContains(t, try(pluginapi.Module{}, provides), "the binary does not serve it")
}

// A call that runs is waited for, and none is taken any more.
func TestCallsAreWaitedFor(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	draining := make(chan struct{})
	module := serving(func(_ context.Context, call *echo.Call) error {
		close(begun)
		<-release
		return call.Send("done")
	})
	module.Drain = func(context.Context) error { close(draining); return nil }
	server := plugintest.Start(t, module, plugintest.Options{Manifest: manifestOf(t, provides)})
	conn := server.Services("blog", ada)
	type result struct {
		answers []string
		err     error
	}
	ended := make(chan result, 1)
	go func() {
		answers, err := echo.Do(t.Context(), conn, echo.Ask, "x")
		ended <- result{answers, err}
	}()
	<-begun
	stopped := make(chan struct{})
	go func() { defer close(stopped); server.Stop() }()
	<-draining
	select {
	case <-stopped:
		t.Error("the module stopped over a call")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	<-stopped
	require.Equal(t, result{answers: []string{"done"}}, <-ended)
}

// Only the core knows the secret.
func TestNobodyElseCallsAModule(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "pd")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	server := startServices(t, filepath.Join(dir, "s"))
	defer server()
	conn, err := grpc.NewClient("unix:"+filepath.Join(dir, "s"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	for name, pairs := range map[string][]string{
		"no secret":    {"platformd-caller", "blog"},
		"another":      {"platformd-secret", "c2VjcmV0Mg"},
		"not encoded":  {"platformd-secret", "secret"},
		"several":      {"platformd-secret", "c2VjcmV0", "platformd-secret", "c2VjcmV0"},
		"no principal": {"platformd-secret", "c2VjcmV0", "platformd-principal", "eyJraW5kIjoi"},
		"no kind":      {"platformd-secret", "c2VjcmV0", "platformd-principal", "e30"},
	} {
		for _, method := range []string{echo.Ask, echo.Count} {
			_, err := echo.Do(metadata.AppendToOutgoingContext(t.Context(), pairs...), conn, method, "x")
			require.Equal(t, codes.Unauthenticated, status.Code(err), "%s: %v", name, err)
		}
	}
	got, err := echo.Do(metadata.AppendToOutgoingContext(t.Context(), "platformd-secret", "c2VjcmV0"), conn, echo.Count, "x")
	require.NoError(t, err)
	require.Equal(t, []string{" for anonymous ", "x"}, got)
}

func TestAModuleFindsWhoProvides(t *testing.T) {
	t.Parallel()
	f := &front{}
	manifest := strings.ReplaceAll(consumes, "["+echo.Service+"]", "["+echo.Service+", a.B/C]")
	plugintest.Start(t, f.module(), plugintest.Options{
		Manifest: manifestOf(t, manifest), Provide: provide(shop),
		Dependencies: []pluginapi.Dependency{{Name: "none", Reason: "broken"}},
	})
	found, err := f.core.Resolve(t.Context(), echo.Service)
	require.NoError(t, err)
	require.Equal(t, pluginapi.Dependency{Name: "shop", Version: "0.0.0-test", Ready: true, Instances: 1}, found)
	_, err = f.core.Resolve(t.Context(), "a.B")
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = f.core.Resolve(t.Context(), "a.C")
	require.Equal(t, codes.PermissionDenied, status.Code(err))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen []pluginapi.Dependency
	for now, err := range f.core.Watch(ctx, "none") {
		if err != nil {
			require.Equal(t, codes.Canceled, status.Code(err))
			break
		}
		seen = append(seen, now)
		cancel()
	}
	require.Equal(t, []pluginapi.Dependency{{Name: "none", Reason: "broken"}}, seen)
	for now, err := range f.core.Watch(t.Context(), "none") {
		require.NoError(t, err)
		require.Equal(t, "none", now.Name)
		break
	}
	for _, err := range f.core.Watch(t.Context(), "other") {
		require.Equal(t, codes.PermissionDenied, status.Code(err))
	}
}

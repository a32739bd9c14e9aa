package calls_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/calls"
	"github.com/platformd/platformd/core/internal/contracts"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
	"github.com/platformd/platformd/core/internal/storage"
	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/wire"
)

func TestMain(m *testing.M) {
	instancetest.Main(map[string]func() pluginapi.Module{
		"billing": func() pluginapi.Module { return pluginapi.Module{Services: provide} },
	})
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("os/exec.(*Cmd).watchCtx"))
}

const (
	service  = "test.Billing"
	getPlan  = "/test.Billing/GetPlan" // reads only
	setPlan  = "/test.Billing/SetPlan" // may not be run twice
	follow   = "/test.Billing/Follow"  // a stream
	missing  = "/test.Billing/Missing" // which no binary has
	restrict = "/test.Other/Do"        // which blog does not consume
)

var kinds = map[string]contracts.Method{
	getPlan: {Idempotent: true, ReadOnly: true}, setPlan: {}, follow: {ClientStreams: true, ServerStreams: true},
}

// provide is the module billing, in its own process: it says what it sees, and does what it is told. What it sees is what the
// core sent: its handlers run outside of the SDK's interceptor.
func provide(server *grpc.Server) {
	unary := func(name string) grpc.MethodDesc {
		return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, decode func(any) error,
			_ grpc.UnaryServerInterceptor,
		) (any, error) {
			in := new(wrapperspb.StringValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			return answer(ctx, in.GetValue())
		}}
	}
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: service, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{unary("GetPlan"), unary("SetPlan")},
		Streams: []grpc.StreamDesc{{StreamName: "Follow", ServerStreams: true, ClientStreams: true, Handler: repeat}},
	}, nil)
}

func answer(ctx context.Context, order string) (any, error) {
	what, arg, _ := strings.Cut(order, " ")
	switch what {
	case "metadata":
		in, _ := metadata.FromIncomingContext(ctx)
		return wrapperspb.String(strings.Join(in.Get(arg), ",")), nil
	case "pid":
		return wrapperspb.String(strconv.Itoa(os.Getpid())), nil
	case "die":
		os.Exit(3)
	case "deadline":
		deadline, ok := ctx.Deadline()
		return wrapperspb.String(fmt.Sprint(ok, " ", time.Until(deadline).Round(time.Second))), nil
	case "hang":
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	case "fail":
		code, _ := strconv.Atoi(arg)
		return nil, status.Error(codes.Code(code), "as told")
	}
	return wrapperspb.String(order), nil
}

func repeat(_ any, s grpc.ServerStream) error {
	for {
		in := new(wrapperspb.StringValue)
		if err := s.RecvMsg(in); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.SendMsg(in); err != nil {
			return err
		}
	}
}

// world is a core in which blog may call billing.
type world struct {
	t        testing.TB
	auth     *auth.Service
	calls    *calls.Calls
	registry *instance.Registry
	launcher *instance.Launcher
	hold     time.Duration

	mu      sync.Mutex
	entries []audit.Entry
}

func blog() *manifest.Manifest {
	return &manifest.Manifest{
		Name: "blog", Requires: manifest.Requires{Modules: map[string]string{"billing": "*"}},
		Services: manifest.Services{Consumes: []string{service, "test.Part/One"}},
	}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	store, err := storage.Open(t.Context(), storage.Options{DataDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	w := &world{t: t, registry: instance.NewRegistry(), launcher: instancetest.Launcher(t), hold: 10 * time.Second}
	w.auth, err = auth.New(t.Context(), store.Core(), auth.Options{})
	require.NoError(t, err)
	installed := map[string]*manifest.Manifest{
		"blog":    blog(),
		"billing": {Name: "billing", Services: manifest.Services{Provides: []string{service}}},
		"notify":  {Name: "notify"},
	}
	w.calls = calls.New(calls.Deps{
		Instances: w.registry, Manifest: func(name string) *manifest.Manifest { return installed[name] },
		Method: func(module, method string) (contracts.Method, bool) {
			kind, ok := kinds[method]
			return kind, ok && module == "billing"
		},
		Fits:       func(_, _, _ string) error { return nil },
		ReadTicket: w.auth.ReadTicket, Derive: w.auth.Derive, Mint: w.auth.Mint, Record: w.record, Log: hclog.NewNullLogger(),
		Hold: w.hold, Timeout: 5 * time.Second,
	})
	t.Cleanup(w.calls.Wait)
	return w
}

func (w *world) record(e audit.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries = append(w.entries, e)
}

// recorded takes what has been recorded since it was last asked.
func (w *world) recorded() []audit.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.entries
	w.entries = nil
	return all
}

// launch starts a process of billing and puts it among those that can be called.
func (w *world) launch() *instance.Instance {
	w.t.Helper()
	spec := instancetest.Spec(w.t, "billing")
	spec.Provides = true
	spec.Concurrency = 1000
	inst := instancetest.LaunchSpec(w.t, w.launcher, spec)
	require.NoError(w.t, w.calls.Attach(w.t.Context(), inst))
	w.registry.Put("billing", inst)
	return inst
}

// caller is a connection on which a module calls others.
func (w *world) caller(m *manifest.Manifest) *grpc.ClientConn {
	w.t.Helper()
	dir, err := os.MkdirTemp("", "calls")
	require.NoError(w.t, err)
	path := filepath.Join(dir, "calls.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(w.t, err)
	done := make(chan struct{})
	go func() { defer close(done); w.calls.ServeOn(m, l) }()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableServiceConfig())
	require.NoError(w.t, err)
	w.t.Cleanup(func() {
		_ = conn.Close()
		_ = l.Close()
		<-done
		_ = os.RemoveAll(dir)
	})
	return conn
}

// to names the module that a call is for.
func to(ctx context.Context, module string, more ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, append([]string{wire.MetadataModule, module}, more...)...)
}

func invoke(ctx context.Context, conn *grpc.ClientConn, method, order string) (string, error) {
	out := new(wrapperspb.StringValue)
	err := conn.Invoke(ctx, method, wrapperspb.String(order), out)
	return out.GetValue(), err
}

func ada() *auth.Identity {
	return &auth.Identity{Principal: link.Principal{Kind: link.KindUser, ID: "u1", Name: "Ada"}, Permissions: []string{"blog.*"}}
}

// ticket is what blog has been given for a request of ada's.
func (w *world) ticket(audience string) string {
	text, _ := w.auth.Mint(ada(), audience, "request-1")
	return text
}

func decode(t testing.TB, text string) string {
	t.Helper()
	out, err := base64.RawURLEncoding.DecodeString(text)
	require.NoError(t, err)
	return string(out)
}

func dialPath(t testing.TB, path string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableServiceConfig())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

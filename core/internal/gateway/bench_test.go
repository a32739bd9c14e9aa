package gateway

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
)

// discarding is the smallest http.ResponseWriter; it keeps its header map, as net/http's does not.
type discarding struct {
	header http.Header
	status int
	bytes  int
}

func (w *discarding) Header() http.Header { return w.header }

func (w *discarding) WriteHeader(status int) { w.status = status }

func (w *discarding) Write(p []byte) (int, error) {
	w.bytes += len(p)
	return len(p), nil
}

func (*discarding) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkGateway is what the core does for a small request, without net/http's share: the module is another process, over
// the link.
func BenchmarkGateway(b *testing.B) {
	for name, path := range map[string]string{"public": "/api/v1/echo/public/ada", "authenticated": "/api/v1/echo/members"} {
		b.Run(name, func(b *testing.B) {
			deps := newDeps(io.Discard)
			deps.Log = hclog.NewNullLogger()
			gateway, err := New(deps)
			require.NoError(b, err)
			require.Empty(b, gateway.SetModules([]*catalog.Module{parse(b, echoManifest)}, nil))
			deps.Instances.Put("echo", instancetest.Launch(b, instancetest.Launcher(b), "echo"))
			handler := gateway.Handler()
			w := &discarding{header: http.Header{}}
			r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://127.0.0.1"+path, nil)
			require.NoError(b, err)
			r.RequestURI, r.RemoteAddr, r.Proto = path, "127.0.0.1:4711", "HTTP/1.1"
			authorization := []string{"Bearer " + goodToken}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				clear(r.Header)
				if name == "authenticated" {
					r.Header["Authorization"] = authorization
				}
				handler.ServeHTTP(w, r)
			}
			require.Equal(b, http.StatusOK, w.status)
		})
	}
}

// BenchmarkAdmit is the guard's part of that. What a public route pays is nothing that counts.
func BenchmarkAdmit(b *testing.B) {
	deps := newDeps(io.Discard)
	deps.Log, deps.Platform = hclog.NewNullLogger(), ownTwins()
	gateway, err := New(deps)
	require.NoError(b, err)
	for _, rt := range gateway.own {
		if rt.Method != http.MethodGet {
			continue
		}
		b.Run(rt.ID, func(b *testing.B) {
			ctx, cancel := context.WithCancel(b.Context()) // as net/http makes one for each request
			defer cancel()
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
			if !rt.open() {
				r.Header["Authorization"] = []string{"Bearer " + goodToken}
			}
			b.ReportAllocs()
			for b.Loop() {
				_, err = rt.admit(r)
			}
			require.NoError(b, err)
		})
	}
}

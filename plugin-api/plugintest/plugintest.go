// Package plugintest runs a module inside its author's test: Start checks it against its module.yaml, migrates a database
// of its own, initialises it and serves its routes over HTTP with permissions and limits, through the very code and data
// socket that serve it in production. What it leaves out is the process: a crash of the module is a crash of the test.
//
// It is for tests. It must not import a database driver, because modules without a database use it too.
package plugintest

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/mux"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/wire"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// Options say what surrounds the module. The zero value suits a module without permissions and configuration.
type Options struct {
	// Manifest is the path of module.yaml; "" is the one in the test's own folder, which is the package's.
	Manifest string
	// Config is encoded as JSON and must obey the schema that the manifest names; nil means that the operator set nothing.
	Config any
	// Principal is who the Server's own requests come from; the zero value is an API token named "test".
	Principal pluginapi.Principal
	// Permissions are what Principal holds, as in `platformd token create --permission`: names, "blog.post.*", "blog.*", "*".
	Permissions []string
	// Data is the folder of the module's database; "" is a new one. A second Start on the folder of a Server that was
	// stopped finds what the first one left.
	Data string
	// Database is the module's, if it is not to be an SQLite file in Data.
	Database *Database
	// Dependencies are what Core.Dependency answers; a module that is not among them is not installed.
	Dependencies []pluginapi.Dependency
	// Provide stands in for other modules: what each registers on the server answers what the module calls with Core.Module. There,
	// too, pluginapi.CallerFrom and PrincipalFrom tell who calls. A call that module.yaml does not declare is refused.
	Provide map[string]func(*grpc.Server)
	// Users are what Core.Identity knows. Core.Authz decides about whoever holds a token of this Server (Principal, As).
	Users []pluginapi.User
}

// Server is a running module. Its requests come from Options.Principal; As makes clients for others. It is safe for
// concurrent use, except that Stop must come last.
type Server struct {
	*Client

	t        testing.TB
	manifest *manifest.Manifest
	module   wire.Server
	init     *modulev1.InitRequest
	core     *core
	database *Database // nil: the manifest grants none
	log      *output
	sockets  string           // the folder of the data socket
	calls    *calls           // nil: module.yaml consumes nothing
	services *grpc.ClientConn // to what the module serves; nil: module.yaml provides nothing
	link     *mux.Client
	gateway  *gateway
	front    *httptest.Server
	stopOnce sync.Once
}

// Start runs the module until the end of the test. A module that does not start fails the test at once.
func Start(t testing.TB, module pluginapi.Module, o Options) *Server {
	t.Helper()
	server, err := Try(t, module, o)
	if err != nil {
		t.Fatalf("the module does not start: %v", err)
	}
	return server
}

// Try is Start for tests of a module that should refuse to start.
func Try(t testing.TB, module pluginapi.Module, o Options) (*Server, error) {
	t.Helper()
	s := &Server{t: t, log: &output{to: t.Output()}}
	if err := s.launch(t.Context(), module, o.withDefaults(t)); err != nil {
		return nil, errors.Join(err, s.abandon(t.Context()))
	}
	t.Cleanup(s.Stop)
	return s, nil
}

// abandon undoes as much as launch did.
func (s *Server) abandon(ctx context.Context) (err error) {
	if s.module != nil {
		_, err = s.module.Stop(ctx, &modulev1.StopRequest{})
	}
	s.release(ctx)
	return err
}

func (o Options) withDefaults(t testing.TB) Options {
	if o.Manifest == "" {
		o.Manifest = "module.yaml"
	}
	if o.Principal == (pluginapi.Principal{}) {
		o.Principal = pluginapi.Principal{Kind: link.KindToken, ID: "test", Name: "test"}
	}
	if o.Data == "" {
		o.Data = t.TempDir()
	}
	return o
}

// As returns a client whose requests come from principal, who holds the permissions; see Options.Permissions.
func (s *Server) As(principal pluginapi.Principal, permissions ...string) *Client {
	s.t.Helper()
	token, err := s.core.callers.admit(principal, permissions)
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	return s.newClient(token)
}

// Anonymous returns a client without credentials.
func (s *Server) Anonymous() *Client { return s.newClient("") }

// URL is where the module's paths begin: URL() + "/posts".
func (s *Server) URL() string { return s.front.URL + s.gateway.prefix }

// Core is a handle like the one the module's Init got, without a platform behind it: db.Open(ctx, server.Core()) lets a
// test look into the module's database.
func (s *Server) Core() *pluginapi.Core {
	core := pluginapi.Core{Name: s.manifest.Name, Version: s.manifest.Version}
	if s.database != nil {
		core.Database = s.database.Work
	}
	return pluginapi.NewCore(core, s.init.GetConfig(), nil)
}

// Written returns what the module has added to the audit log, the oldest first.
func (s *Server) Written() []Written {
	s.core.mu.Lock()
	defer s.core.mu.Unlock()
	return slices.Clone(s.core.written)
}

// Stop drains and stops the module as the core does, within the manifest's stopTimeout, and fails the test if it returns an
// error. Only the first call does anything; the end of the test calls it too.
func (s *Server) Stop() {
	s.t.Helper()
	s.stopOnce.Do(func() {
		s.t.Helper()
		if err := s.halt(); err != nil {
			s.t.Errorf("the module does not stop: %v", err)
		}
	})
}

func (s *Server) halt() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.manifest.Runtime.StopTimeout.Std())
	defer cancel()
	_, drainErr := s.module.Drain(ctx, &modulev1.DrainRequest{})
	_, stopErr := s.module.Stop(ctx, &modulev1.StopRequest{})
	s.release(ctx)
	return errors.Join(drainErr, stopErr)
}

// release frees what surrounds the module, as far as it was made.
func (s *Server) release(ctx context.Context) {
	if s.front != nil {
		s.front.CloseClientConnections()
		s.front.Close()
	}
	if s.link != nil {
		s.link.Close()
	}
	if s.services != nil {
		_ = s.services.Close()
	}
	s.calls.close(ctx)
	if s.core != nil {
		s.core.close()
	}
	_ = os.RemoveAll(s.sockets) // a few bytes in the system's temporary folder
	s.log.close()
}

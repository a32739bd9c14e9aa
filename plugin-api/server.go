package pluginapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/link/http1"
	"github.com/platformd/platformd/plugin-api/link/mux"
	"github.com/platformd/platformd/plugin-api/wire"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// server is the module's half of platform.module.v1: it walks one Module through its life, and hands it events.
type server struct {
	modulev1.UnimplementedModuleServer
	modulev1.UnimplementedEventsServer

	module Module
	log    hclog.Logger
	dial   dialer // set once, before the first RPC
	events handlers

	mu       sync.Mutex // guards the rest
	inited   bool
	stopped  bool
	data     *mux.Server
	services *services
	core     *grpc.ClientConn
	calls    *grpc.ClientConn
	sent     *publications
}

// dialer connects to the core's services under the id that InitRequest names.
type dialer func(id uint32) (*grpc.ClientConn, error)

// NewServer returns the module's half of the protocol without a process around it, for package plugintest, which calls it in
// the order in which the core does. dial may be nil if InitRequest will name no connection to the core. The error says how
// the module is put together wrongly.
func NewServer(m Module, log hclog.Logger, dial func(id uint32) (*grpc.ClientConn, error)) (wire.Server, error) {
	srv, err := newServer(m, log)
	if err != nil {
		return nil, err
	}
	srv.dial = dial
	return srv, nil
}

func newServer(m Module, log hclog.Logger) (*server, error) {
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("this module is put together wrongly: %w", err)
	}
	return &server{module: m, log: log}, nil
}

// Describe implements modulev1.ModuleServer.
func (s *server) Describe(_ context.Context, req *modulev1.DescribeRequest) (*modulev1.DescribeResponse, error) {
	consumed, err := consumed(req.GetConsumes())
	if err != nil {
		return nil, err
	}
	answer := &modulev1.DescribeResponse{
		Routes: s.module.routeIDs(), Mount: s.module.Mount != nil, Sdk: sdkVersion(), Link: mux.Version,
		Subscriptions: s.module.patterns(), Consumed: consumed, Deliver: true,
	}
	if s.module.Migrations != nil {
		answer.Migrations = s.module.Migrations.IDs
	}
	return answer, nil
}

// Migrate implements modulev1.ModuleServer.
func (s *server) Migrate(ctx context.Context, req *modulev1.MigrateRequest) (*modulev1.MigrateResponse, error) {
	if s.module.Migrations == nil {
		return nil, status.Error(codes.FailedPrecondition, "this module has no migrations")
	}
	step := Step{ID: req.GetId(), Down: req.GetDirection() == modulev1.Direction_DIRECTION_DOWN, DryRun: req.GetDryRun()}
	statements, err := s.module.Migrations.Run(ctx, databaseOf(req.GetDatabase()), step)
	if err != nil {
		return nil, status.Errorf(codes.Aborted, "migration %s: %v", step.ID, err)
	}
	return &modulev1.MigrateResponse{Statements: statements}, nil
}

// Init implements modulev1.ModuleServer.
func (s *server) Init(ctx context.Context, req *modulev1.InitRequest) (*modulev1.InitResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inited {
		return nil, status.Error(codes.FailedPrecondition, "Init was called before")
	}
	s.inited = true
	core, err := s.newCore(req)
	if err != nil {
		return nil, err
	}
	if s.module.Init != nil {
		if err := s.module.Init(ctx, core); err != nil {
			return nil, status.Errorf(codes.FailedPrecondition, "Init: %v", err)
		}
	}
	if err := s.openServices(ctx, req); err != nil {
		return nil, err
	}
	if err := s.listen(ctx, req, core); err != nil {
		return nil, err
	}
	s.events.open()
	return &modulev1.InitResponse{}, nil
}

func (s *server) newCore(req *modulev1.InitRequest) (*Core, error) {
	var services grpc.ClientConnInterface // the core's
	if id := req.GetCoreBrokerId(); id != 0 {
		conn, err := s.dial(id)
		if err != nil {
			return nil, fmt.Errorf("dial the core: %w", err)
		}
		s.core, services = conn, conn
	}
	core := NewCore(Core{
		Name: req.GetName(), Version: req.GetVersion(), Log: s.log, Database: databaseOf(req.GetDatabase()),
	}, req.GetConfig(), services)
	s.sent = core.Events.publications
	s.sent.socket = req.GetEventsSocket()
	calls, err := openCalls(req.GetCallsSocket())
	if err != nil {
		return nil, err
	}
	core.calls = nil // other modules have a socket of their own
	if calls != nil {
		s.calls, core.calls = calls, calls
	}
	return core, nil
}

// listen opens the data socket. It comes last: an exchange that arrives finds the module ready.
func (s *server) listen(ctx context.Context, req *modulev1.InitRequest, core *Core) error {
	if req.GetDataSocket() == "" {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", req.GetDataSocket())
	if err != nil {
		return fmt.Errorf("open the data socket: %w", err)
	}
	s.data = mux.Serve(listener, http1.ServerConfig{ //nolint:contextcheck // it serves long after Init has returned
		Secret:  req.GetDataSecret(),
		Handler: &dispatcher{routes: s.module.Routes, mount: s.module.Mount, log: core.Log},
		Log:     s.log,
	})
	return nil
}

// Health implements modulev1.ModuleServer.
func (s *server) Health(ctx context.Context, _ *modulev1.HealthRequest) (*modulev1.HealthResponse, error) {
	if s.module.Health == nil {
		return &modulev1.HealthResponse{}, nil
	}
	if err := s.module.Health(ctx); err != nil {
		return &modulev1.HealthResponse{Problem: err.Error()}, nil
	}
	return &modulev1.HealthResponse{}, nil
}

// Watch implements modulev1.ModuleServer: it ends with the connection.
func (s *server) Watch(_ *modulev1.WatchRequest, stream grpc.ServerStreamingServer[modulev1.WatchResponse]) error {
	<-stream.Context().Done()
	return nil
}

// Drain implements modulev1.ModuleServer.
func (s *server) Drain(ctx context.Context, _ *modulev1.DrainRequest) (*modulev1.DrainResponse, error) {
	if err := s.drain(ctx); err != nil {
		return nil, status.Errorf(codes.Unknown, "Drain: %v", err)
	}
	return &modulev1.DrainResponse{}, nil
}

// Stop implements modulev1.ModuleServer.
func (s *server) Stop(ctx context.Context, _ *modulev1.StopRequest) (*modulev1.StopResponse, error) {
	if err := s.stop(ctx); err != nil {
		return nil, status.Errorf(codes.Unknown, "Stop: %v", err)
	}
	return &modulev1.StopResponse{}, nil
}

func (s *server) shutdown(ctx context.Context) error {
	return errors.Join(s.drain(ctx), s.stop(ctx))
}

// drain takes no more exchanges and events and waits for those that run, while the author's code ends those that would not end
// by themselves, such as streams.
func (s *server) drain(ctx context.Context) error {
	ended := make(chan error, 1)
	calls := make(chan error, 1)
	go func() { calls <- s.endCalls(ctx) }()
	go func() { ended <- errors.Join(s.endExchanges(ctx), s.events.drain(ctx)) }()
	var err error
	if s.module.Drain != nil {
		err = s.module.Drain(ctx)
	}
	return errors.Join(err, <-ended, <-calls)
}

func (s *server) endCalls(ctx context.Context) error {
	s.mu.Lock()
	services := s.services
	s.mu.Unlock()
	return services.drain(ctx)
}

func (s *server) endExchanges(ctx context.Context) error {
	s.mu.Lock()
	server := s.data
	s.mu.Unlock()
	if server == nil {
		return nil
	}
	return server.Shutdown(ctx)
}

func (s *server) stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	var problems []error
	if s.data != nil {
		problems = append(problems, s.data.Close())
	}
	s.services.close()
	if s.inited && s.module.Stop != nil {
		problems = append(problems, s.module.Stop(ctx))
	}
	if s.sent != nil {
		s.sent.close()
	}
	for _, conn := range []*grpc.ClientConn{s.core, s.calls} {
		if conn != nil {
			problems = append(problems, conn.Close())
		}
	}
	return errors.Join(problems...)
}

func databaseOf(db *modulev1.Database) Database {
	return Database{
		Driver: db.GetDriver(), Source: db.GetSource(), TablePrefix: db.GetTablePrefix(), MaxConns: int(db.GetMaxConns()),
		RootCertificates: db.GetRootCertificates(), Ledger: db.GetLedger(),
		Events: db.GetEvents(),
	}
}

// sdkVersion is the version of this Go module as linked into the binary.
func sdkVersion() string {
	const path = "github.com/platformd/platformd/plugin-api"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, dep := range info.Deps {
		if dep.Path == path {
			return dep.Version
		}
	}
	return "unknown"
}

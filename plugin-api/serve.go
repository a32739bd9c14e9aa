package pluginapi

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/wire"
)

// signalGrace bounds Drain and Stop when the process is ended by a signal instead of by the core.
const signalGrace = 5 * time.Second

// Serve runs the module until the core stops it. It is the last call of a module's main; it ends the process with status 1
// if the module is put together wrongly, and prints how to use the binary when a person runs it by hand.
func Serve(m Module) {
	handshake := wire.Handshake()
	if os.Getenv(handshake.MagicCookieKey) != handshake.MagicCookieValue {
		fmt.Fprintln(os.Stderr, "This is a platformd module; it is launched by the platform, not by hand.\n"+
			"fix: put it in modules/<name>/ beside its module.yaml and run `platformd start`")
		os.Exit(1)
	}
	if err := serve(m, handshake); err != nil {
		fmt.Fprintln(os.Stderr, "error: "+err.Error())
		os.Exit(1)
	}
}

func serve(m Module, handshake plugin.HandshakeConfig) error {
	if err := reserveStdout(); err != nil {
		return err
	}
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: os.Stderr, JSONFormat: true})
	srv, err := newServer(m, log)
	if err != nil {
		return err
	}
	if err := watchLifeline(); err != nil {
		return err
	}
	stopOnSignal(srv)
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: handshake,
		Plugins: wire.Serving(func(broker *plugin.GRPCBroker) wire.Server {
			srv.dial = dialThrough(broker)
			return srv
		}),
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			options = append(options, wire.ServerOptions()...)
			return grpc.NewServer(append(options, grpc.UnaryInterceptor(srv.guard))...)
		},
		Logger: hclog.New(&hclog.LoggerOptions{Name: "sdk", Level: hclog.Warn, Output: os.Stderr, JSONFormat: true}),
	})
	return nil
}

func dialThrough(broker *plugin.GRPCBroker) dialer {
	return func(id uint32) (*grpc.ClientConn, error) { return broker.DialWithOptions(id, wire.DialOptions()...) }
}

// stopOnSignal ends the module in an orderly way when somebody other than the core asks it to. SIGINT is left to go-plugin,
// which ignores it: Ctrl-C in the operator's terminal is the core's to handle.
func stopOnSignal(srv *server) {
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	go func() { // lives as long as the process
		<-terminate
		srv.log.Info("stopping on SIGTERM")
		ctx, cancel := context.WithTimeout(context.Background(), signalGrace)
		ended := make(chan error, 1)
		go func() { ended <- srv.shutdown(ctx) }()
		select {
		case err := <-ended:
			if err != nil {
				srv.log.Warn("stop", "error", err)
			}
		case <-ctx.Done():
			srv.log.Warn("still busy; leaving")
		}
		cancel()
		os.Exit(0)
	}()
}

// guard keeps a panic in one of the author's functions from ending the process without a word.
func (s *server) guard(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (answer any, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			s.log.Error("panic", "method", info.FullMethod, "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
			err = status.Errorf(codes.Internal, "panic: %v", cause)
		}
	}()
	return next(ctx, req)
}

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/wire"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// liar breaks the protocol of the module's life where its mode says so; the rest is the SDK's.
type liar struct {
	wire.Server
	mode string
	grpc *grpc.Server
}

// serveLiar is pluginapi.Serve for modes that the SDK would not let pass.
func serveLiar(m pluginapi.Module, e *evil, mode string) {
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: os.Stderr, JSONFormat: true})
	var dial func(uint32) (*grpc.ClientConn, error) // set before the first call
	server, err := pluginapi.NewServer(m, log, func(id uint32) (*grpc.ClientConn, error) { return dial(id) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "error: "+err.Error())
		os.Exit(1)
	}
	l := &liar{Server: server, mode: mode}
	e.hangUp = func() { l.grpc.Stop(); sleep() } // it closes its connections, and lives on
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: wire.Handshake(),
		Plugins: wire.Serving(func(broker *plugin.GRPCBroker) wire.Server {
			dial = broker.Dial
			return l
		}),
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			l.grpc = plugin.DefaultGRPCServer(options)
			return l.grpc
		},
		Logger: log,
	})
	sleep() // go-plugin returns when its server stops
}

// lies are the modes of a liar.
func lies(mode string) bool {
	switch mode {
	case "hang-describe", "hang-init", "hang-health", "hang-drain", "hang-stop", "huge-describe", "hang-up",
		"leave-describe", "slow-init", "deaf":
		return true
	}
	return false
}

// hang answers never, whatever the caller's deadline. Who is deaf hears no signal either.
func (l *liar) hang(mode string) {
	if l.mode == mode || l.mode == "deaf" && (mode == "hang-drain" || mode == "hang-stop") {
		sleep()
	}
}

// Describe implements modulev1.ModuleServer.
func (l *liar) Describe(ctx context.Context, req *modulev1.DescribeRequest) (*modulev1.DescribeResponse, error) {
	l.hang("hang-describe")
	if l.mode == "leave-describe" {
		go l.grpc.Stop() // it closes its listener and connections, and lives on
		sleep()
	}
	if l.mode == "huge-describe" {
		return &modulev1.DescribeResponse{Routes: []string{strings.Repeat("x", 64<<20)}}, nil
	}
	return l.Server.Describe(ctx, req)
}

// Init implements modulev1.ModuleServer.
func (l *liar) Init(ctx context.Context, req *modulev1.InitRequest) (*modulev1.InitResponse, error) {
	l.hang("hang-init")
	if l.mode == "slow-init" {
		time.Sleep(2 * time.Second)
	}
	return l.Server.Init(ctx, req)
}

// Health implements modulev1.ModuleServer.
func (l *liar) Health(ctx context.Context, req *modulev1.HealthRequest) (*modulev1.HealthResponse, error) {
	l.hang("hang-health")
	return l.Server.Health(ctx, req)
}

// Drain implements modulev1.ModuleServer.
func (l *liar) Drain(ctx context.Context, req *modulev1.DrainRequest) (*modulev1.DrainResponse, error) {
	l.hang("hang-drain")
	return l.Server.Drain(ctx, req)
}

// Stop implements modulev1.ModuleServer.
func (l *liar) Stop(ctx context.Context, req *modulev1.StopRequest) (*modulev1.StopResponse, error) {
	l.hang("hang-stop")
	return l.Server.Stop(ctx, req)
}

package contestant

import (
	"context"
	"path/filepath"

	"github.com/platformd/platformd/scripts/bench/internal/proc"
	"github.com/platformd/platformd/scripts/bench/internal/scenario"
)

// rawCalls is the contestant that calls between modules are compared with.
const rawCalls = "grpc-go"

// callers call a service of another process.
func callers() []Contestant {
	return []Contestant{
		{
			Name: rawCalls, What: "grpc-go alone: a process that calls another over a unix socket",
			Subject: scenario.Calls, Against: rawCalls,
			needs: []string{"grpcgo"}, start: startGRPC,
		},
		{
			Name: "calls", What: "platformd, module → core → module", Subject: scenario.Calls, Against: rawCalls,
			needs: []string{"calls", "billing"}, start: startCalls,
		},
	}
}

// startGRPC runs who answers, and then who calls.
func startGRPC(ctx context.Context, s *Site, address string) ([]*proc.Process, error) {
	socket := filepath.Join(s.Dir, "grpcgo.sock")
	callee, err := s.run(ctx, rawCalls+"-callee", s.bin("grpcgo"), socket)
	if err != nil {
		return nil, err
	}
	started := []*proc.Process{callee}
	caller, err := s.run(ctx, rawCalls, s.bin("grpcgo"), address, socket)
	if err != nil {
		return started, err
	}
	return append(started, caller), nil
}

// startCalls runs a daemon with two modules.
func startCalls(ctx context.Context, s *Site, address string) ([]*proc.Process, error) {
	p, err := s.StartPlatform(ctx, Platform{Name: "calls", Binary: "calls", Address: address, Billing: true})
	if err != nil {
		return nil, err
	}
	return []*proc.Process{p.Process}, nil
}

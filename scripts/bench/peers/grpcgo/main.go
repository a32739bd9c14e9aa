// Command grpcgo is the contestant that calls between modules are compared with: grpc-go alone, with its defaults, between two
// processes and over a unix socket. The same binary is the one that calls and the one that answers.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	billingv1 "github.com/platformd/platformd/proto/billing/v1"

	"github.com/platformd/platformd/scripts/bench/internal/billing"
	"github.com/platformd/platformd/scripts/bench/internal/callload"
	"github.com/platformd/platformd/scripts/bench/internal/front"
)

func main() {
	var err error
	switch len(os.Args) {
	case 2:
		err = answer(os.Args[1])
	case 3:
		err = call(os.Args[1], os.Args[2])
	default:
		fmt.Fprintf(os.Stderr, "usage: %s SOCKET, to answer; %s HOST:PORT SOCKET, to call\n", os.Args[0], os.Args[0])
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error: "+err.Error())
		os.Exit(1)
	}
}

// answer serves billing until the process gets SIGTERM or SIGINT.
func answer(socket string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("listen on %s: %w (fix: choose another path)", socket, err)
	}
	server := grpc.NewServer()
	billingv1.RegisterBillingServiceServer(server, billing.Generous{})
	context.AfterFunc(ctx, server.Stop)
	return server.Serve(listener)
}

// call takes orders at address.
func call(address, socket string) error {
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("make a client of %s: %w", socket, err)
	}
	defer func() { _ = conn.Close() }()
	return front.Serve(address, callload.New(billingv1.NewBillingServiceClient(conn)))
}

//go:build linux

// Command bench compares platformd with other ways to put a process behind a gateway: every contestant answers the same
// requests on the same machine in one run, in rounds, so that what disturbs one disturbs all. `make bench` runs it.
//
// It is a Go module of its own, outside the workspace: what its peers need (Caddy, Grafana's SDK) must never choose a version
// for the product.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	runtime.LockOSThread() // for proc.Start
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case interrupted:
		fmt.Fprintln(os.Stderr, "interrupted: everything that ran has been stopped")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "error: "+err.Error())
		os.Exit(1)
	}
}

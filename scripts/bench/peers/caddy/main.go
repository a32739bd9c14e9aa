// Command caddy is Caddy with what a reverse proxy needs, and nothing else of its standard modules: those do not run for a
// request, but take minutes to compile. It reads a configuration in Caddy's own JSON.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp"              // registers the app "http"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy" // registers the handler "reverse_proxy"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"            // registers the storage, without which none starts
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: caddy CONFIG.json")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "error: "+err.Error())
		os.Exit(1)
	}
}

func run(path string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	config, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	if err := caddy.Load(config, true); err != nil {
		return fmt.Errorf("load %s: %w (fix: write it as Caddy's documentation of its JSON says)", path, err)
	}
	<-ctx.Done()
	return caddy.Stop()
}

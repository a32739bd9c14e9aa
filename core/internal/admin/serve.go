package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"
)

// closeTimeout is how long running requests get to notice that the daemon stops.
const closeTimeout = 5 * time.Second

// Serve answers on ln until ctx ends, which also ends the requests that are running, and closes ln. An error means that it
// could not go on.
func Serve(ctx context.Context, ln net.Listener, deps Deps) error {
	both, ctx := errgroup.WithContext(ctx)
	server := &http.Server{
		Handler:           Handler(deps),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: requestTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      2 * requestTimeout, // for following logs, of each write
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    maxHeaders,
		ErrorLog:          deps.Log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Warn}),
	}
	both.Go(func() error {
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the control socket: %w", err)
		}
		return nil
	})
	both.Go(func() error {
		<-ctx.Done()
		return shutdown(ctx, server)
	})
	return both.Wait()
}

func shutdown(ctx context.Context, server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if server.Shutdown(ctx) == nil {
		return nil
	}
	return server.Close() // a client that does not read its answer
}

// Package front is the gin server that clients of a contestant talk to, with the settings that all contestants share.
//
// It must not know what stands behind it: a contestant hands it one func per route.
package front

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/platformd/platformd/scripts/bench/internal/handler"
)

// stopPatience bounds how long requests in flight may take once the server is told to stop.
const stopPatience = time.Second

// Forward says how a route's requests are answered.
type Forward func(handler.Route) func(w http.ResponseWriter, r *http.Request) error

// Here answers a route in this process.
func Here(route handler.Route) func(http.ResponseWriter, *http.Request) error { return route.Serve }

// Through answers every route by one func, which looks at the request itself.
func Through(serve func(http.ResponseWriter, *http.Request) error) Forward {
	return func(handler.Route) func(http.ResponseWriter, *http.Request) error { return serve }
}

// Run serves the routes of internal/handler on address (host:port, or unix:PATH) until the process gets SIGTERM or SIGINT.
func Run(address string, forward Forward) error { return Serve(address, engine(forward)) }

// Serve is Run for a handler of the caller's.
func Serve(address string, h http.Handler) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := listen(ctx, address)
	if err != nil {
		return err
	}
	server := newServer(h)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve on %s: %w", address, err)
	case <-ctx.Done():
	}
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer cancel()
	if err := server.Shutdown(patient); err != nil {
		_ = server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	listener, err := new(net.ListenConfig).Listen(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w (fix: choose another address)", address, err)
	}
	return listener, nil
}

// newServer has the settings of platformd's gateway, so that nobody wins by promising less.
func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    28 << 10,
	}
}

// NewEngine is the gin of all contestants, without routes.
func NewEngine() *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	return gin.New()
}

func engine(forward Forward) *gin.Engine {
	e := NewEngine()
	for _, route := range handler.Routes() {
		serve := handler.Cutting(forward(route))
		e.Handle(route.Method, handler.Prefix+route.Path, func(c *gin.Context) { serve(c.Writer, c.Request) })
	}
	return e
}

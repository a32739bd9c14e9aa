package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/platformd/platformd/core/internal/config"
)

// standbyLimit bounds each exchange with a platform that stands by, and the end of the last ones.
const standbyLimit = 2 * time.Second

// StandBy answers on ln for a platform that cannot serve yet: /livez says that it lives, everything else that it is not ready,
// and why. It returns when ctx ends, and leaves ln open for Serve: no client is turned away in between.
func StandBy(ctx context.Context, ln net.Listener, server config.Server, why func() Readiness) error {
	standing := &http.Server{
		Handler: standby(why), ReadTimeout: standbyLimit, WriteTimeout: standbyLimit, MaxHeaderBytes: maxHead - headSlack,
		ErrorLog: hclog.NewNullLogger().StandardLogger(nil),
	}
	standing.SetKeepAlivesEnabled(false) // the next request is for who serves then
	lent := &lentListener{Listener: ln}
	served := net.Listener(lent)
	if server.TLS.Cert != "" {
		certs, err := newCertificates(server.TLS, hclog.NewNullLogger())
		if err != nil {
			return err
		}
		served = newTLSListener(lent, certs.config(), standbyLimit, hclog.NewNullLogger())
	}
	ended := make(chan error, 1)
	go func() { ended <- standing.Serve(served) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), standbyLimit)
	defer cancel()
	if standing.Shutdown(patient) != nil {
		_ = standing.Close() // what it could not close is closed already
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
	}
	return lent.giveBack()
}

func standby(why func() Readiness) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/livez", livez)
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) { why().answer(w, r, false) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "2")
		http.Error(w, "the platform is starting; /readyz says what it waits for", http.StatusServiceUnavailable)
	})
	return mux
}

// lentListener is a listener whose Close only ends its Accept.
type lentListener struct{ net.Listener }

// deadliner is what the listeners of package net have.
type deadliner interface{ SetDeadline(t time.Time) error }

// Accept implements net.Listener.
func (l *lentListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, net.ErrClosed
	}
	return conn, err
}

// Close implements net.Listener.
func (l *lentListener) Close() error { return l.setDeadline(time.Now()) }

// giveBack makes the listener what it was, once nothing accepts any more.
func (l *lentListener) giveBack() error { return l.setDeadline(time.Time{}) }

func (l *lentListener) setDeadline(t time.Time) error {
	under, ok := l.Listener.(deadliner)
	if !ok {
		return fmt.Errorf("listener %T cannot be handed over", l.Listener)
	}
	return under.SetDeadline(t)
}

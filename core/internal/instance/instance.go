package instance

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/platformd/platformd/core/internal/isolation"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/http1"
	"github.com/platformd/platformd/plugin-api/link/mux"
	"github.com/platformd/platformd/plugin-api/wire"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// maxIdleConns bounds the data socket's kept connections: as many as a busy gateway uses at once.
const maxIdleConns = 256

// clientIdle cuts a client that neither sends the body it promised nor takes the answer it asked for.
const clientIdle = 10 * time.Second

// Instance is one live process of a module. Its methods are safe for concurrent use; each takes a context, and none
// outlasts it.
type Instance struct {
	spec    Spec
	dir     string
	log     hclog.Logger
	proc    *process
	sha256  string
	started time.Time

	client *plugin.Client
	module modulev1.ModuleClient
	events modulev1.EventsClient
	broker *plugin.GRPCBroker
	link   atomic.Uint32 // the version that the module offers
	data   transport
	secret []byte // of the data and the services socket

	calls, publications *net.UnixListener // nil if the module calls no others, or publishes nothing

	delivers   atomic.Bool // whether the module takes events by Events.Deliver
	delivering delivering

	printed    []io.Closer // streams that go-plugin writes to
	endings    endings
	inflight   atomic.Int64
	places     atomic.Int64          // those in flight that Spec.Concurrency bounds
	queue      atomic.Pointer[queue] // of the registry that the instance is in
	shunned    atomic.Int64          // until when others are preferred, in nanoseconds of Unix time; 0 = not
	draining   atomic.Bool
	drained    chan struct{} // closed when draining and nothing is in flight
	drainOnce  sync.Once
	streams    context.Context // ends every stream when the instance drains
	endStreams context.CancelFunc
}

// PID is the process id on this host.
func (i *Instance) PID() int { return i.proc.cmd.Process.Pid }

// Started is when the handshake was done.
func (i *Instance) Started() time.Time { return i.started }

// SHA256 is the checksum of the executable as it was launched, in hex.
func (i *Instance) SHA256() string { return i.sha256 }

// Revision names the manifest and files that the process was launched from. What was decided by another revision's manifest is
// not for this process.
func (i *Instance) Revision() string { return i.spec.Revision }

// Isolation says how far the process is kept apart.
func (i *Instance) Isolation() isolation.Level { return i.proc.cell.Level }

// Transport names what carries the HTTP exchanges: "link", or "http/1.1", which modules in other languages speak.
func (i *Instance) Transport() string {
	if speaksLink(i.link.Load()) {
		return "link"
	}
	return "http/1.1"
}

// Done is closed when the process has ended, whatever its descendants do.
func (i *Instance) Done() <-chan struct{} { return i.proc.done }

// ExitReason says how the process ended, such as "exit 2" or "signal killed"; empty while it lives.
func (i *Instance) ExitReason() string { return i.proc.exit() }

// Describe asks the module what it offers, and remembers for Init how to speak with it: before Describe only HTTP/1.1 is sure.
func (i *Instance) Describe(ctx context.Context) (*modulev1.DescribeResponse, error) {
	answer, err := i.module.Describe(ctx, &modulev1.DescribeRequest{Consumes: i.spec.Consumes})
	i.link.Store(answer.GetLink())
	i.delivers.Store(answer.GetDeliver())
	return answer, err
}

// Migrate runs one migration step in the module.
func (i *Instance) Migrate(ctx context.Context, req *modulev1.MigrateRequest) (*modulev1.MigrateResponse, error) {
	return i.module.Migrate(ctx, req)
}

// Init hands the module its configuration, its data socket and its connection to the core, and returns when it can serve.
// Of req only Name, Version, Config and Database are read.
func (i *Instance) Init(ctx context.Context, req *modulev1.InitRequest) error {
	i.secret = make([]byte, 32)
	_, _ = rand.Read(i.secret) // never fails (crypto/rand, Go 1.24)
	req.DataSecret = i.secret
	req.DataSocket = filepath.Join(i.dir, "data.sock")
	if i.spec.Provides {
		req.ServicesSocket = i.servicesSocket()
	}
	if i.calls != nil {
		req.CallsSocket = filepath.Join(i.dir, callsSocket)
		go i.spec.Calls(i, i.calls) // ends with the listener
	}
	if i.publications != nil {
		req.EventsSocket = filepath.Join(i.dir, eventsSocket)
		go i.servePublications() //nolint:contextcheck // it ends with the listener
	}
	if i.spec.Services != nil {
		req.CoreBrokerId = i.broker.NextId()
		go i.serveCore(req.GetCoreBrokerId()) // ends with the broker
	}
	if _, err := i.module.Init(ctx, req); err != nil {
		return err
	}
	i.data = newTransport(i.link.Load(), http1.ClientConfig{
		Socket: req.GetDataSocket(), Secret: i.secret, CheckPeer: checkPeer(i.PID(), i.proc.cell.UID), MaxIdle: maxIdleConns,
		IdleTimeout: clientIdle,
		OnAbort: func(r *http.Request, err error) {
			i.log.Debug("cut a response half-way", "path", r.URL.Path, "error", err)
		},
	})
	return nil
}

func speaksLink(version uint32) bool { return version == mux.Version }

// transport is how HTTP exchanges reach the module.
type transport interface {
	Exchange(w http.ResponseWriter, r *http.Request, call *link.Call) error
	Upgrade(w http.ResponseWriter, r *http.Request, call *link.Call) error
	Close()
}

// newTransport takes the link if the module speaks ours, and otherwise HTTP/1.1, which every module speaks.
func newTransport(version uint32, config http1.ClientConfig) transport {
	if speaksLink(version) {
		return mux.NewClient(config)
	}
	return http1.NewClient(config)
}

// InFlight is how many exchanges the instance is working on.
func (i *Instance) InFlight() int64 { return i.inflight.Load() }

// Exchange is one HTTP request as the gateway decided it.
type Exchange struct {
	Call *link.Call
	// Stream ends the exchange when the instance drains: nobody else would.
	Stream bool
	// Upgrade lets the exchange leave HTTP, when the module agrees.
	Upgrade bool
}

// ServeHTTP sends the request to the module and its answer to w. The caller has acquired the instance from the Registry. An
// error means that nothing was written to w; it is an *link.ExchangeError. If the module breaks after its answer has begun,
// ServeHTTP panics with http.ErrAbortHandler, which cuts the client's connection.
func (i *Instance) ServeHTTP(w http.ResponseWriter, r *http.Request, ex Exchange) error {
	if ex.Stream {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(i.streams, cancel)() //nolint:contextcheck // the instance's end, not the request's
		r = r.WithContext(ctx)
	}
	if ex.Upgrade {
		return i.data.Upgrade(w, r, ex.Call)
	}
	return i.data.Exchange(w, r, ex.Call)
}

// acquire counts one exchange in, with a place if it takes one; false means that the instance takes no more.
func (i *Instance) acquire(place bool) bool {
	if place && !i.occupy() {
		return false
	}
	i.inflight.Add(1)
	if i.callable() {
		return true
	}
	i.release(place)
	return false
}

// occupy takes a place if one is free.
func (i *Instance) occupy() bool {
	for {
		taken := i.places.Load()
		if i.spec.Concurrency > 0 && taken >= int64(i.spec.Concurrency) {
			return false
		}
		if i.places.CompareAndSwap(taken, taken+1) {
			return true
		}
	}
}

func (i *Instance) full() bool {
	return i.spec.Concurrency > 0 && i.places.Load() >= int64(i.spec.Concurrency)
}

// callable tells whether the instance takes exchanges: it may be dead, but not taken out of the registry yet.
func (i *Instance) callable() bool {
	select {
	case <-i.Done():
		return false
	default:
		return !i.draining.Load()
	}
}

// Draining tells that the instance is being stopped: its streams are ended, and it takes no more exchanges.
func (i *Instance) Draining() bool { return i.draining.Load() }

// Release ends what Registry.Acquire began.
func (i *Instance) Release() { i.release(true) }

// ReleaseStream ends what Registry.AcquireStream began.
func (i *Instance) ReleaseStream() { i.release(false) }

func (i *Instance) release(place bool) {
	if place {
		i.places.Add(-1)
		if queue := i.queue.Load(); queue != nil {
			queue.free()
		}
	}
	if i.inflight.Add(-1) == 0 && i.draining.Load() {
		i.drainOnce.Do(func() { close(i.drained) })
	}
}

// Stop ends the instance in order: no new exchanges, running ones finish, Drain, Stop, then the whole process tree is
// killed. It always returns with the process dead; when ctx ends it stops being patient.
func (i *Instance) Stop(ctx context.Context) {
	i.drain(ctx)
	if _, err := i.module.Stop(ctx, &modulev1.StopRequest{}); err != nil {
		i.log.Warn("the module did not stop by itself", "error", err)
	}
	i.Kill()
}

// drain leaves a quarter of the time to Stop: what the module has to put away must not suffer from what will not end.
func (i *Instance) drain(ctx context.Context) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)*3/4)
		defer cancel()
	}
	i.awaitDrained(ctx)
	if _, err := i.module.Drain(ctx, &modulev1.DrainRequest{}); err != nil {
		i.log.Warn("the module did not drain", "error", err)
	}
}

func (i *Instance) awaitDrained(ctx context.Context) {
	i.draining.Store(true)
	i.endStreams()
	if i.inflight.Load() == 0 {
		return
	}
	select {
	case <-i.drained:
	case <-i.Done():
	case <-ctx.Done():
		i.log.Warn("requests were still running when the module was stopped", "requests", i.inflight.Load())
	}
}

// OnEnd has act called once the process is dead, or at once if it is. What is called must not block: a stop waits for it.
func (i *Instance) OnEnd(act func()) { i.endings.add(act) }

// End kills the process tree and returns when the process is reaped; Kill has still to be called.
func (i *Instance) End() {
	i.draining.Store(true)
	i.proc.killTree()
	<-i.proc.done
}

// Kill ends the process tree at once and removes what it leaves. It returns when the process is reaped; calling it again is
// harmless.
func (i *Instance) Kill() {
	i.draining.Store(true)
	i.discard()
}

// discard also serves a launch that failed half-way.
func (i *Instance) discard() {
	i.endStreams()
	if i.proc.ID() != "" {
		i.proc.kill()
		<-i.proc.done
	}
	i.endings.run()
	i.endListening()
	if i.data != nil {
		i.data.Close()
	}
	i.endClient()
	for _, stream := range i.printed {
		_ = stream.Close()
	}
	if err := i.proc.cell.Close(); err != nil {
		i.log.Warn("remove what the process leaves", "error", err)
	}
	if err := os.RemoveAll(i.dir); err != nil {
		i.log.Warn("remove the runtime folder", "error", err)
	}
}

// endClient lets go-plugin free what it holds. Its Kill has no deadline of its own; with the process dead it has nothing to
// wait for, and should it wait all the same, we do not.
func (i *Instance) endClient() {
	ended := make(chan struct{})
	go func() { i.client.Kill(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(2 * time.Second):
		i.log.Warn("go-plugin did not let go of a dead process within 2s")
	}
}

// serveCore serves the core's services to this one module until the broker closes.
func (i *Instance) serveCore(id uint32) {
	i.broker.AcceptAndServe(id, func(options []grpc.ServerOption) *grpc.Server {
		server := grpc.NewServer(append(options, wire.ServerOptions()...)...)
		i.spec.Services(server)
		return server
	})
}

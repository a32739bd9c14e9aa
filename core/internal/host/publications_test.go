package host_test

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/host"
	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/event"
	"github.com/platformd/platformd/plugin-api/wire"
	"github.com/platformd/platformd/plugin-api/wire/guard"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// eventsSocket is the events socket of shop, and what has connected to it.
type eventsSocket struct {
	path string

	mu    sync.Mutex
	conns []net.Conn
	open  int
}

// eventsSocket serves publications, which take takes.
func (r *rig) eventsSocket(take func(context.Context, []bus.Event) []error) *eventsSocket {
	r.deps.Publish = take
	h, err := host.New(r.deps)
	require.NoError(r.t, err)
	publishing, err := guard.NewPublishing(publisher(), schemaOf)
	require.NoError(r.t, err)
	serve := h.Publications(publisher(), publishing)
	s := &eventsSocket{path: filepath.Join(r.t.TempDir(), "e")}
	l, err := new(net.ListenConfig).Listen(r.t.Context(), "unix", s.path)
	require.NoError(r.t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.opened(conn)
			all.Go(func() {
				serve(r.t.Context(), conn)
				_ = conn.Close()
				s.ended()
			})
		}
	})
	r.t.Cleanup(func() {
		_ = l.Close()
		s.mu.Lock()
		for _, conn := range s.conns {
			_ = conn.Close()
		}
		s.mu.Unlock()
		all.Wait()
	})
	return s
}

func (s *eventsSocket) opened(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, conn)
	s.open++
}

func (s *eventsSocket) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

// count tells how many connections there have been, and how many of them go on.
func (s *eventsSocket) count() (all, open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns), s.open
}

// module is what shop publishes by.
func (s *eventsSocket) module(t *testing.T) *pluginapi.Events {
	t.Helper()
	var events *pluginapi.Events
	module, err := pluginapi.NewServer(pluginapi.Module{Init: func(_ context.Context, core *pluginapi.Core) error {
		events = core.Events
		return nil
	}}, hclog.NewNullLogger(), nil)
	require.NoError(t, err)
	_, err = module.Init(t.Context(), &modulev1.InitRequest{Name: "shop", EventsSocket: s.path})
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := module.Stop(t.Context(), &modulev1.StopRequest{})
		require.NoError(t, err)
	})
	return events
}

func sent() pluginapi.Event { return pluginapi.Event{Type: "shop.order.sent", Version: 1} }

// Publications go over connections that last, which also a refused one leaves as it was.
func TestAConnectionServesManyPublications(t *testing.T) {
	t.Parallel()
	let := make(chan struct{}, 100)
	socket := newRig(t).eventsSocket(func(ctx context.Context, _ []bus.Event) []error {
		select {
		case <-let:
		case <-ctx.Done():
		}
		return nil
	})
	events := socket.module(t)
	for range 10 {
		let <- struct{}{}
		require.NoError(t, events.Publish(t.Context(), sent()))
		undeclared := events.PublishAll(t.Context(), pluginapi.Event{Type: "shop.x", Version: 1})
		require.Equal(t, codes.PermissionDenied, status.Code(undeclared))
	}
	large := pluginapi.Event{Type: "shop.order.sent", Version: 1, Data: []byte(`"` + strings.Repeat("x", event.MaxData-2) + `"`)}
	tooMuch := events.PublishAll(t.Context(), slices.Repeat([]pluginapi.Event{large}, 65)...)
	require.Equal(t, codes.InvalidArgument, status.Code(tooMuch))
	require.ErrorContains(t, tooMuch, "fewer at once")
	let <- struct{}{}
	require.NoError(t, events.PublishAll(t.Context(), slices.Repeat([]pluginapi.Event{large}, 60)...))
	all, _ := socket.count()
	require.Equal(t, 1, all)

	const many = 30
	var publishing sync.WaitGroup
	for range many {
		publishing.Go(func() {
			if err := events.PublishAll(t.Context(), sent(), sent()); err != nil {
				t.Error(err)
			}
		})
	}
	isFull := func() bool { all, _ := socket.count(); return all == wire.MaxPublishing }
	require.Eventually(t, isFull, 10*time.Second, time.Millisecond)
	impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	require.Equal(t, codes.DeadlineExceeded, status.Code(events.PublishAll(impatient, sent())), "there is no room")
	for range many {
		let <- struct{}{}
	}
	publishing.Wait()
	require.Eventually(t, func() bool { _, open := socket.count(); return open == 4 }, 10*time.Second, time.Millisecond,
		"what nobody needs any more is closed")
}

// Who gives up hears at once; the next publication goes over another connection.
func TestGivingUpAPublication(t *testing.T) {
	t.Parallel()
	began, end := make(chan struct{}), make(chan struct{})
	first := true
	socket := newRig(t).eventsSocket(func(context.Context, []bus.Event) []error {
		if first {
			first = false
			close(began)
			<-end
		}
		return nil
	})
	events := socket.module(t)
	ctx, giveUp := context.WithCancel(t.Context())
	go func() { <-began; giveUp() }()
	require.Equal(t, codes.Canceled, status.Code(events.Publish(ctx, sent())))
	require.Equal(t, codes.Canceled, status.Code(events.Publish(ctx, sent())), "it is not begun")
	close(end)
	require.NoError(t, events.Publish(t.Context(), sent()))
	all, _ := socket.count()
	require.Equal(t, 2, all)
}

// A publication that fails in the core's own code is the end of nothing else.
func TestAPublicationThatPanics(t *testing.T) {
	t.Parallel()
	panics := true
	socket := newRig(t).eventsSocket(func(context.Context, []bus.Event) []error {
		if panics {
			panics = false
			panic("a mistake")
		}
		return nil
	})
	events := socket.module(t)
	require.Equal(t, codes.Internal, status.Code(events.Publish(t.Context(), sent())))
	require.NoError(t, events.Publish(t.Context(), sent()))
}

// What became of a publication whose connection breaks is not known.
func TestAConnectionThatBreaks(t *testing.T) {
	t.Parallel()
	var socket *eventsSocket
	breaks := true
	socket = newRig(t).eventsSocket(func(context.Context, []bus.Event) []error {
		if breaks {
			breaks = false
			_ = socket.conns[0].Close()
		}
		return nil
	})
	events := socket.module(t)
	require.ErrorIs(t, events.Publish(t.Context(), sent()), pluginapi.ErrEventsAway)
	require.NoError(t, events.Publish(t.Context(), sent()))

	nowhere := &eventsSocket{path: filepath.Join(t.TempDir(), "nothing")}
	require.ErrorIs(t, nowhere.module(t).Publish(t.Context(), sent()), pluginapi.ErrEventsAway)
	nobody := pluginapi.NewCore(pluginapi.Core{Name: "shop"}, nil, nil).Events
	require.ErrorIs(t, nobody.Publish(t.Context(), sent()), pluginapi.ErrEventsAway)
}

// TestPublications is what is not the SDK: an answer for each request, in their order, until it hangs up, or sends what is none.
func TestPublications(t *testing.T) {
	t.Parallel()
	socket := newRig(t).eventsSocket(func(_ context.Context, events []bus.Event) []error {
		return []error{nil, bus.ErrUnroutable}[:len(events)]
	})
	conn, err := new(net.Dialer).DialContext(t.Context(), "unix", socket.path)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	messages := wire.NewMessages(conn)
	good := &corev1.Event{Type: "shop.order.sent", Version: 1}
	requests := []*corev1.PublishRequest{{Events: []*corev1.Event{good}}, {Events: []*corev1.Event{good, good}}, {}}
	var answers []*corev1.PublishOutcome
	for _, request := range requests {
		require.NoError(t, messages.Send(request))
	}
	for range requests {
		answer := &corev1.PublishOutcome{}
		require.NoError(t, messages.Receive(answer))
		answers = append(answers, answer)
	}
	require.Zero(t, answers[0].GetCode())
	require.EqualValues(t, codes.FailedPrecondition, answers[1].GetCode())
	require.Len(t, answers[1].GetFailures().GetFailures(), 1)
	require.EqualValues(t, 1, answers[1].GetFailures().GetFailures()[0].GetIndex())
	require.Zero(t, answers[2].GetCode(), "nothing is published")

	_, err = conn.Write([]byte{1, 0xff})
	require.NoError(t, err)
	require.Error(t, messages.Receive(&corev1.PublishOutcome{}), "what is no request ends the connection")
}

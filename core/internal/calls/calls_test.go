package calls_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/calls"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/wire"
)

func TestTheCalleeLearnsWhoCallsAndForWhom(t *testing.T) {
	w := newWorld(t)
	inst := w.launch()
	conn := w.caller(blog())
	ask := func(ctx context.Context, name string) string {
		t.Helper()
		out, err := invoke(ctx, conn, getPlan, "metadata "+name)
		require.NoError(t, err)
		return out
	}
	background := to(t.Context(), "billing", "x-own", "kept", "platformd-odd", "gone")
	require.Equal(t, "kept", ask(background, "x-own"))
	require.Empty(t, ask(background, "platformd-odd"))
	require.Empty(t, ask(background, wire.MetadataModule))
	require.Equal(t, "blog", ask(background, wire.MetadataCaller))
	require.Equal(t, inst.ServicesSecret(), ask(background, wire.MetadataSecret))
	require.JSONEq(t, `{"kind":"module","id":"blog","name":"blog"}`, decode(t, ask(background, wire.MetadataPrincipal)))
	onward, err := w.auth.ReadTicket(t.Context(), ask(background, wire.MetadataTicket), "billing")
	require.NoError(t, err)
	require.Equal(t, link.Principal{Kind: link.KindModule, ID: "blog", Name: "blog"}, onward.Principal)

	given := w.ticket("blog")
	request := to(t.Context(), "billing", wire.MetadataTicket, given)
	require.JSONEq(t, `{"kind":"user","id":"u1","name":"Ada"}`, decode(t, ask(request, wire.MetadataPrincipal)))
	ticket := ask(request, wire.MetadataTicket)
	require.NotContains(t, ticket, ",")
	onward, err = w.auth.ReadTicket(t.Context(), ticket, "billing")
	require.NoError(t, err)
	first, err := w.auth.ReadTicket(t.Context(), given, "blog")
	require.NoError(t, err)
	require.Equal(t, first, onward, "the same caller, bounds, request and end")
	require.Empty(t, w.recorded(), "reads are not recorded")
}

// offence is a call that is not passed on.
type offence struct {
	conn     *grpc.ClientConn
	ctx      context.Context //nolint:containedctx // it is the call's metadata
	method   string
	want     codes.Code
	recorded bool
	says     string
}

func TestWhatIsDenied(t *testing.T) {
	w := newWorld(t)
	w.launch()
	conn := w.caller(blog())
	stranger := w.caller(&manifest.Manifest{Name: "stranger"})
	unrelated := w.caller(&manifest.Manifest{Name: "unrelated", Services: manifest.Services{Consumes: []string{service}}})
	part := w.caller(&manifest.Manifest{
		Name: "part", Requires: manifest.Requires{Optional: map[string]string{"billing": "*"}},
		Services: manifest.Services{Consumes: []string{service + "/SetPlan"}},
	})
	const denied, unauthenticated = codes.PermissionDenied, codes.Unauthenticated
	const invalid, unimplemented = codes.InvalidArgument, codes.Unimplemented
	billing := func(more ...string) context.Context { return to(t.Context(), "billing", more...) }
	for name, test := range map[string]offence{
		"a consumer of nothing":      {stranger, billing(), getPlan, denied, true, "services.consumes"},
		"another service":            {conn, billing(), restrict, denied, true, "services.consumes"},
		"another method":             {part, billing(), getPlan, denied, true, "services.consumes"},
		"a module it has not named":  {unrelated, billing(), getPlan, denied, true, "requires.modules"},
		"a module that nobody knows": {conn, to(t.Context(), "nobody"), getPlan, denied, true, "requires.modules"},
		"a forged ticket":            {conn, billing(wire.MetadataTicket, "pft_forged"), getPlan, unauthenticated, true, "ticket"},
		"another module's ticket": {
			conn, billing(wire.MetadataTicket, w.ticket("billing")), getPlan, unauthenticated, true, "ticket",
		},
		"two tickets": {
			conn, billing(wire.MetadataTicket, w.ticket("blog"), wire.MetadataTicket, w.ticket("blog")), getPlan,
			unauthenticated, true, "one ticket",
		},
		"a forged caller":    {conn, billing(wire.MetadataCaller, "core"), getPlan, denied, true, "platformd-caller"},
		"a forged principal": {conn, billing(wire.MetadataPrincipal, "e30"), getPlan, denied, true, "platformd-principal"},
		"a guessed secret":   {conn, billing(wire.MetadataSecret, "x"), getPlan, denied, true, "platformd-secret"},
		"no module":          {conn, t.Context(), getPlan, invalid, false, "core.Module"},
		"two modules":        {conn, billing(wire.MetadataModule, "blog"), getPlan, invalid, false, "core.Module"},
		"a service that it does not provide": {
			conn, billing(), "/test.Part/One", unimplemented, false, "does not provide",
		},
		"a method that it does not have": {conn, billing(), missing, unimplemented, false, "has no method"},
		"no path":                        {conn, billing(), "/only", unimplemented, false, "SERVICE/METHOD"},
	} {
		t.Run(name, func(t *testing.T) {
			w.recorded()
			_, err := invoke(test.ctx, test.conn, test.method, "")
			require.Equal(t, test.want, status.Code(err), "%v", err)
			require.Contains(t, err.Error(), test.says)
			entries := w.recorded()
			if !test.recorded {
				require.Empty(t, entries)
				return
			}
			require.Len(t, entries, 1)
			require.Equal(t, audit.Denied, entries[0].Outcome)
			require.Equal(t, "module.call", entries[0].Action)
			require.True(t, strings.HasSuffix(entries[0].Resource, test.method))
		})
	}
}

func TestCallsThatMayChangeSomethingAreRecorded(t *testing.T) {
	w := newWorld(t)
	w.launch()
	ctx := to(t.Context(), "billing", wire.MetadataTicket, w.ticket("blog"),
		"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	_, err := invoke(ctx, w.caller(blog()), setPlan, "x")
	require.NoError(t, err)
	require.Equal(t, []audit.Entry{{
		Actor: ada().Principal, Via: "blog", Action: "module.call", Resource: "billing" + setPlan, Outcome: audit.Allowed,
		RequestID: "request-1", TraceID: "0af7651916cd43dd8448eb211c80319c",
	}}, w.recorded())
}

func TestTimes(t *testing.T) {
	w := newWorld(t)
	w.launch()
	conn := w.caller(blog())
	out, err := invoke(to(t.Context(), "billing"), conn, getPlan, "deadline")
	require.NoError(t, err)
	require.Equal(t, "true 5s", out, "the default")
	long, cancel := context.WithTimeout(t.Context(), 30*time.Hour)
	defer cancel()
	out, err = invoke(to(long, "billing"), conn, getPlan, "deadline")
	require.NoError(t, err)
	require.Equal(t, "true 1h0m0s", out, "the most")
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = invoke(to(short, "billing"), conn, getPlan, "hang")
	require.Equal(t, codes.DeadlineExceeded, status.Code(err))
}

func TestAStreamHasNoEndUntilItsCalleeStops(t *testing.T) {
	w := newWorld(t)
	inst := w.launch()
	stream, err := w.caller(blog()).NewStream(to(t.Context(), "billing"),
		&grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, follow)
	require.NoError(t, err)
	require.NoError(t, stream.SendMsg(wrapperspb.String("one")))
	require.NoError(t, stream.RecvMsg(new(wrapperspb.StringValue)))
	require.EqualValues(t, 1, inst.InFlight())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stopped := make(chan struct{})
	go func() { inst.Stop(ctx); close(stopped) }()
	err = stream.RecvMsg(new(wrapperspb.StringValue))
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Contains(t, err.Error(), "stopping")
	<-stopped
	require.NoError(t, ctx.Err(), "the stop did not wait for its end")
}

// A callee that stops finishes what it has.
func TestAStopLetsCallsFinish(t *testing.T) {
	w := newWorld(t)
	inst := w.launch()
	conn := w.caller(blog())
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	ended := make(chan error, 1)
	go func() { _, err := invoke(to(ctx, "billing"), conn, setPlan, "hang"); ended <- err }()
	require.Eventually(t, func() bool { return inst.InFlight() == 1 }, 5*time.Second, time.Millisecond)
	inst.Stop(t.Context())
	require.Equal(t, codes.DeadlineExceeded, status.Code(<-ended))
}

func TestACallWaitsForAModuleThatIsComing(t *testing.T) {
	w := newWorld(t)
	w.registry.Remove("billing", "restarting", true)
	conn := w.caller(blog())
	ended := make(chan error, 1)
	go func() { _, err := invoke(to(t.Context(), "billing"), conn, getPlan, "x"); ended <- err }()
	require.Eventually(t, func() bool { return w.registry.Waiting() == 1 }, 5*time.Second, time.Millisecond)
	w.launch()
	require.NoError(t, <-ended)

	w.registry.Remove("billing", "it is disabled", false)
	_, err := invoke(to(t.Context(), "billing"), conn, getPlan, "x")
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Contains(t, err.Error(), "it is disabled")
}

func TestWhatRunsAgainWhenTheProcessDies(t *testing.T) {
	w := newWorld(t)
	first := w.launch()
	conn := w.caller(blog())
	second := w.launch()
	first.Shun(time.Hour) // so that the next call goes to the second
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { _, err := invoke(to(ctx, "billing"), conn, getPlan, "hang"); ended <- err }()
	require.Eventually(t, func() bool { return second.InFlight() == 1 }, 5*time.Second, time.Millisecond)
	second.End()
	require.Eventually(t, func() bool { return first.InFlight() == 1 }, 5*time.Second, time.Millisecond, "it runs again elsewhere")
	cancel()
	require.Equal(t, codes.Canceled, status.Code(<-ended))

	_, err := invoke(to(t.Context(), "billing"), conn, setPlan, "die")
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Contains(t, err.Error(), "not known")
	statuses := w.calls.Statuses()
	require.Len(t, statuses, 1)
	require.EqualValues(t, 1, statuses[0].Retries)
}

func TestABreakerSuspendsCallsThatFail(t *testing.T) {
	w := newWorld(t)
	w.launch()
	conn, other := w.caller(blog()), w.caller(&manifest.Manifest{
		Name: "other", Requires: manifest.Requires{Modules: map[string]string{"billing": "*"}}, Services: blog().Services,
	})
	for range calls.BreakerFailures {
		_, err := invoke(to(t.Context(), "billing"), conn, getPlan, "fail 14")
		require.Contains(t, err.Error(), "as told")
	}
	_, err := invoke(to(t.Context(), "billing"), conn, getPlan, "x")
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Contains(t, err.Error(), "suspended")
	require.Equal(t, "open", w.calls.Statuses()[0].Breaker)
	_, err = invoke(to(t.Context(), "billing"), other, getPlan, "x")
	require.NoError(t, err, "another caller's calls are its own")
	require.Eventually(t, func() bool {
		_, err := invoke(to(t.Context(), "billing"), conn, getPlan, "x")
		return err == nil
	}, 10*time.Second, 50*time.Millisecond)
	require.Equal(t, "closed", w.calls.Statuses()[0].Breaker)
	for range 2 * calls.BreakerFailures { // what is no fault of the callee's
		_, err := invoke(to(t.Context(), "billing"), conn, getPlan, "fail 5")
		require.Contains(t, err.Error(), "as told")
	}
}

func TestABulkheadBoundsAPair(t *testing.T) {
	w := newWorld(t)
	w.launch()
	conn := w.caller(blog())
	ctx, cancel := context.WithCancel(to(t.Context(), "billing"))
	defer cancel()
	for range calls.MaxInProgress {
		go func() { _, _ = invoke(ctx, conn, setPlan, "hang") }()
	}
	require.Eventually(t, func() bool {
		all := w.calls.Statuses()
		return len(all) == 1 && all[0].InProgress == calls.MaxInProgress
	}, 10*time.Second, 5*time.Millisecond)
	_, err := invoke(to(t.Context(), "billing"), conn, getPlan, "x")
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	cancel()
	require.Eventually(t, func() bool { return w.calls.Statuses()[0].InProgress == 0 }, 10*time.Second, 5*time.Millisecond)
	_, err = invoke(to(t.Context(), "billing"), conn, getPlan, "x")
	require.NoError(t, err)
}

// A process that fails alone is called less.
func TestAnOutlierIsShunned(t *testing.T) {
	w := newWorld(t)
	w.launch()
	w.launch()
	conn := w.caller(blog())
	pids := func() map[string]bool {
		all := map[string]bool{}
		for range 40 {
			pid, err := invoke(to(t.Context(), "billing"), conn, getPlan, "pid")
			require.NoError(t, err)
			all[pid] = true
		}
		return all
	}
	require.Len(t, pids(), 2)
	require.Eventually(t, func() bool { // until one of them has had enough
		for range 5 {
			_, _ = invoke(to(t.Context(), "billing"), conn, getPlan, "fail 14")
		}
		_, _ = invoke(to(t.Context(), "billing"), w.caller(blog()), getPlan, "x")
		return len(pids()) == 1
	}, 20*time.Second, 10*time.Millisecond)
}

// Only a module's own process may use its socket.
func TestTheCallsSocketIsItsModulesAlone(t *testing.T) {
	w := newWorld(t)
	spec := instancetest.Spec(t, "billing")
	spec.Calls = w.calls.Serve(blog())
	spec.Provides = true
	inst := instancetest.LaunchSpec(t, w.launcher, spec)
	raw, err := inst.DialServices(t.Context())
	require.NoError(t, err)
	path := strings.Replace(raw.RemoteAddr().String(), "services.sock", "calls.sock", 1)
	require.NoError(t, raw.Close())
	require.FileExists(t, path)
	conn := dialPath(t, path)
	_, err = invoke(to(t.Context(), "billing"), conn, getPlan, "x")
	require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
}

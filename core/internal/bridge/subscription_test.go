package bridge

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
)

// reading is what the module reader subscribes to.
func reading() Module {
	return Module{Name: "reader", Subscriptions: []Subscription{
		{Pattern: "blog.*", Version: 1, Concurrency: 4, Timeout: time.Minute, Attempts: 2},
	}}
}

// consuming is what serves the subscription of reader, for one of its methods to be called.
func consuming(registry *instance.Registry) *consumer {
	m := reading()
	return &consumer{
		bridge: New(Deps{Instances: registry}), module: m.Name, subscription: m.Subscriptions[0],
		declared: bus.Subscription{Module: m.Name, Pattern: "blog.*"},
	}
}

func delivery(subject string, attempt int) bus.Delivery {
	e := event("1", "")
	e.Source, e.Subject = source, subject
	return bus.Delivery{Event: e, Subscription: wanted.ID(), Attempt: attempt}
}

// published publishes events of which each says what is to become of it, as the module blog.
func (d *daemon) published(subjects ...string) {
	d.t.Helper()
	all := make([]bus.Event, len(subjects))
	for i, subject := range subjects {
		all[i] = event(fmt.Sprint(i, subject), "")
		all[i].Source, all[i].Subject = source, subject
	}
	require.Nil(d.t, d.Publish(d.t.Context(), all))
}

func TestWhatTheModuleSaysIsTheVerdict(t *testing.T) {
	t.Parallel()
	for name, launch := range map[string]func(testing.TB, *instance.Launcher, string) *instance.Instance{
		"deliver": instancetest.Launch,
		"handle":  instancetest.LaunchHTTP1, // which asks for no description, so that nothing but Handle is sure
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); whatTheModuleSays(t, launch(t, instancetest.Launcher(t), "reader")) })
	}
}

func whatTheModuleSays(t *testing.T, inst *instance.Instance) {
	t.Helper()
	registry := instance.NewRegistry()
	registry.Put("reader", inst)
	c := consuming(registry)
	for _, one := range []struct {
		subject string
		attempt int
		fate    bus.Fate
		reason  string
		says    string
	}{
		{"", 1, bus.Acked, "", ""},
		{"fail", 1, bus.Retried, "", "it went wrong"},
		{"fail", 2, bus.Died, bus.ReasonAttempts, "it went wrong"},
		{"fail", 9, bus.Died, bus.ReasonAttempts, "it went wrong"}, // the manifest has fewer than it had
		{"drop", 1, bus.Died, bus.ReasonDropped, "it never goes"},
		{"panic", 1, bus.Retried, "", "oh no"},
	} {
		got := c.handle(t.Context(), t.Context(), delivery(one.subject, one.attempt))
		require.Equal(t, one.fate.String(), got.Fate().String(), one.subject)
		require.Equal(t, one.reason, got.Why().Reason, one.subject)
		require.Contains(t, got.Why().Error, one.says)
		if one.fate == bus.Retried {
			require.NotZero(t, got.After(), one.subject)
		}
	}
	newer := delivery("", 1)
	newer.Event.Version = 2
	got := c.handle(t.Context(), t.Context(), newer)
	require.Equal(t, bus.ReasonVersion, got.Why().Reason)
	require.ErrorContains(t, errors.New(got.Why().Error), "(fix: update the module")

	c.subscription.Timeout = 50 * time.Millisecond
	for range 10 { // whichever side's clock is the faster one
		got = c.handle(t.Context(), t.Context(), delivery("hang", 1))
		require.Equal(t, bus.Retried, got.Fate())
		require.Contains(t, got.Why().Error, "longer than 50ms (fix: ")
	}
	c.subscription.Timeout = patience
	got = c.handle(t.Context(), t.Context(), delivery("die", 1))
	require.Equal(t, bus.Retried, got.Fate(), "what the module did to itself counts")
	require.Contains(t, got.Why().Error, "the module's process ended")
	next(t, inst.Done())
}

// What a module could not finish because it was stopped was not its fault: it comes again, and has cost no attempt.
func TestWhatADrainCutsOffIsGivenBack(t *testing.T) {
	t.Parallel()
	registry := instance.NewRegistry()
	inst := instancetest.Launch(t, instancetest.Launcher(t), "reader")
	registry.Put("reader", inst)
	verdict := make(chan bus.Verdict, 1)
	go func() { verdict <- consuming(registry).handle(t.Context(), t.Context(), delivery("hang", 2)) }()
	require.Eventually(t, func() bool { return inst.InFlight() == 1 }, patience, time.Millisecond)
	registry.Remove("reader", "it was stopped", false)
	inst.Stop(ended(t))
	require.Equal(t, bus.Released.String(), next(t, verdict).Fate().String())
}

func TestAHandlerThatIsNotThere(t *testing.T) {
	t.Parallel()
	registry := instance.NewRegistry()
	registry.Put("reader", instancetest.Launch(t, instancetest.Launcher(t), "reader"))
	c := consuming(registry)
	c.subscription.Pattern = "shop.*"
	got := c.handle(t.Context(), t.Context(), delivery("", 2))
	require.Equal(t, bus.ReasonAttempts, got.Why().Reason)
	require.Contains(t, got.Why().Error, `no handler for events "shop.*"`)
}

// Without an instance nothing has been tried: the delivery goes back as it was, and does not keep the daemon from stopping.
func TestWithoutAnInstanceTheDeliveryIsGivenBack(t *testing.T) {
	t.Parallel()
	for name, coming := range map[string]bool{"it restarts": true, "it failed": false} {
		registry := instance.NewRegistry()
		registry.Remove("reader", name, coming)
		began := time.Now()
		got := consuming(registry).handle(t.Context(), ended(t), delivery("", 2))
		require.Equal(t, bus.Released, got.Fate(), name)
		require.Less(t, time.Since(began), holdInstance, name)
		require.Zero(t, registry.Waiting())
	}
	got := consuming(instance.NewRegistry()).handle(ended(t), t.Context(), delivery("", 2))
	require.Equal(t, bus.Released, got.Fate())
}

// A delivery that finds no instance waits for the one that is coming, and is handled once by it.
func TestADeliveryWaitsForTheInstance(t *testing.T) {
	t.Parallel()
	registry := instance.NewRegistry()
	registry.Remove("reader", "it restarts", true)
	inst := instancetest.Launch(t, instancetest.Launcher(t), "reader")
	verdict := make(chan bus.Verdict, 1)
	go func() { verdict <- consuming(registry).handle(t.Context(), t.Context(), delivery("", 1)) }()
	require.Eventually(t, func() bool { return registry.Waiting() == 1 }, patience, time.Millisecond)
	registry.Put("reader", inst)
	require.Equal(t, bus.Acked, next(t, verdict).Fate())
	require.Zero(t, inst.InFlight())
}

// Events wait while the module is away, are handled when it is ready, and nothing is counted that was not tried.
func TestAModuleThatComesAndGoes(t *testing.T) {
	t.Parallel()
	onEach(t, func(p *place) {
		d := p.daemon()
		handled := func(verdict string) func() bool {
			return func() bool {
				return testutil.ToFloat64(d.metrics.handled.WithLabelValues(wanted.ID(), verdict)) >= 1
			}
		}
		stop := d.run(reading())
		d.published("", "fail", "drop")
		require.False(p.t, handled("acked")())
		launcher := instancetest.Launcher(p.t)
		first := instancetest.Launch(p.t, launcher, "reader")
		d.Instances.Put("reader", first)
		reasons := map[string]bus.DeadLetter{}
		for range 2 {
			l := next(p.t, d.letters)
			reasons[l.Failure.Reason] = l
		}
		require.Equal(p.t, 2, reasons[bus.ReasonAttempts].Attempts)
		require.Equal(p.t, "1fail", reasons[bus.ReasonAttempts].Event.ID)
		require.Equal(p.t, "it went wrong", reasons[bus.ReasonAttempts].Failure.Error)
		require.Equal(p.t, "2drop", reasons[bus.ReasonDropped].Event.ID)
		require.Equal(p.t, 1, reasons[bus.ReasonDropped].Attempts)
		require.Eventually(p.t, handled("acked"), patience, 10*time.Millisecond)

		d.Instances.Remove("reader", "it was stopped", false)
		first.Kill()
		d.published("drop")
		require.Empty(p.t, d.letters)
		d.Instances.Put("reader", instancetest.Launch(p.t, launcher, "reader"))
		require.Equal(p.t, "0drop", next(p.t, d.letters).Event.ID)
		require.Eventually(p.t, func() bool { // it is counted when it has been kept
			return testutil.ToFloat64(d.metrics.dead.WithLabelValues(wanted.ID(), bus.ReasonDropped))+
				testutil.ToFloat64(d.metrics.dead.WithLabelValues(wanted.ID(), bus.ReasonAttempts)) == 3
		}, patience, time.Millisecond)
		stop()
	})
}

// A daemon that stops does not wait for a module that is just restarting.
func TestStoppingGivesBackWhatWaitsForAnInstance(t *testing.T) {
	t.Parallel()
	p := server(t)
	d := p.daemon()
	inst := instancetest.Launch(t, instancetest.Launcher(t), "reader")
	d.Instances.Put("reader", inst)
	stop := d.run(reading())
	d.published("")
	require.Eventually(t, func() bool {
		return testutil.ToFloat64(d.metrics.handled.WithLabelValues(wanted.ID(), "acked")) == 1
	}, patience, 10*time.Millisecond)
	d.Instances.Remove("reader", "it restarts", true) // so that it goes on consuming
	d.published("")
	require.Eventually(t, func() bool { return d.Instances.Waiting() == 1 }, patience, time.Millisecond)
	began := time.Now()
	stop()
	require.Less(t, time.Since(began), holdInstance/2)
	var pending map[string]bus.Backlog
	require.Eventually(t, func() (ready bool) {
		pending, _ = d.Bus.Pending(t.Context())
		return pending[wanted.ID()].Ready == 1
	}, 10*time.Second, 10*time.Millisecond)
}

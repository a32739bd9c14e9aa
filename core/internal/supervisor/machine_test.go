package supervisor

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// schedules is how many random lives of a module the property test plays.
const schedules = 100_000

// world is what a machine acts on, without a process: what is under way, what lives, and what time it is.
type world struct {
	machine *machine
	now     time.Time
	// By slot:
	launches []map[int]bool // attempts under way
	waits    []map[int]time.Time
	alive    []int // instances that take requests
	launched []int // whose admission is due in this step
	retired  int
	trouble  string // the first rule that was broken
}

func newWorld(budget Budget, instances int, random func() float64) *world {
	w := &world{machine: newMachine(budget, instances, random), now: time.Unix(0, 0)}
	w.alive, w.launched = make([]int, instances), make([]int, instances)
	for range instances {
		w.launches, w.waits = append(w.launches, map[int]bool{}), append(w.waits, map[int]time.Time{})
	}
	return w
}

func (w *world) broken(format string, args ...any) {
	if w.trouble == "" {
		w.trouble = fmt.Sprintf(format, args...)
	}
}

// perform plays the runner.
func (w *world) perform(todo []action) {
	for _, a := range todo {
		switch a.do {
		case doLaunch:
			w.launches[a.slot][a.attempt] = true
		case doWait:
			if a.delay < firstBackoff/2 || a.delay > maxBackoff {
				w.broken("a wait of %s", a.delay)
			}
			w.waits[a.slot][a.attempt] = w.now.Add(a.delay)
		case doAdmit:
			if w.launched[a.slot] == 0 {
				w.broken("nothing to admit in slot %d", a.slot)
			}
			w.launched[a.slot], w.alive[a.slot] = 0, 1 // the predecessor, if any, is retired by it
		case doRetire:
			if w.alive[a.slot] != 1 {
				w.broken("nothing to retire in slot %d", a.slot)
			}
			w.alive[a.slot] = 0
			w.retired++
		case doAbort:
			clear(w.launches[a.slot])
			clear(w.waits[a.slot])
		}
	}
}

// check tells what must hold between any two steps.
func (w *world) check() {
	for i, s := range w.machine.slots {
		launches, waits := len(w.launches[i]), len(w.waits[i])
		if launches+waits > 1 {
			w.broken("slot %d: %d launches and %d waits", i, launches, waits)
		}
		if (s.phase == up) != (w.alive[i] == 1) {
			w.broken("slot %d: phase %d with %d alive", i, s.phase, w.alive[i])
		}
		if s.phase == waiting && waits != 1 || s.phase == launching && launches != 1 || s.renewing && launches != 1 {
			w.broken("slot %d: phase %d, renewing %t, with nothing under way", i, s.phase, s.renewing)
		}
		if !w.machine.wanted && (launches+waits > 0 || w.alive[i] == 1) {
			w.broken("slot %d: not wanted, and yet %d under way", i, launches+waits)
		}
	}
	if state, reason := w.machine.state(); state != Ready && state != Stopped && reason == "" {
		w.broken("%s without a reason", state)
	}
}

// step lets one thing happen, whatever is possible.
func (w *world) step(random *rand.Rand) {
	w.now = w.now.Add(time.Duration(random.Int64N(int64(20 * time.Second))))
	slot := random.IntN(len(w.alive))
	switch random.IntN(20) {
	case 0:
		w.perform(w.machine.restart())
	case 1:
		w.perform(w.machine.stop())
	case 2:
		w.perform(w.machine.start())
		w.upgrade(random)
	case 3, 4, 5, 6, 7:
		w.crash(slot)
	case 8, 9, 10:
		w.endWait(slot)
	case 11, 12, 13:
		w.failLaunch(slot, fault(random.IntN(3)))
	default:
		w.succeed(slot)
	}
	w.check()
}

// upgrade plays what an upgrade may do: succeed beside the old instances, or have them make way and then succeed or go back.
func (w *world) upgrade(random *rand.Rand) {
	what := random.IntN(4)
	if what > 1 {
		w.perform(w.machine.makeWay("the next version is coming"))
		if state, reason := w.machine.state(); state != Starting || reason != "the next version is coming" {
			w.broken("%s, %s, with instances that have made way", state, reason)
		}
		w.check()
	}
	switch what {
	case 0, 2:
		w.perform(w.machine.takeOver(len(w.alive), Budget{Max: 3, Window: time.Minute}, w.now))
		for slot := range w.alive {
			w.alive[slot] = 1 // whoever calls takeOver has retired the others
		}
		if state, _ := w.machine.state(); state != Ready {
			w.broken("%s after an upgrade", state)
		}
	case 3:
		w.perform(w.machine.start())
	}
}

func (w *world) crash(slot int) {
	if w.alive[slot] == 0 {
		return
	}
	w.alive[slot] = 0
	w.perform(w.machine.ended(slot, w.now, "signal killed"))
}

func (w *world) succeed(slot int) {
	for attempt := range w.launches[slot] {
		delete(w.launches[slot], attempt)
		w.launched[slot] = 1
		todo, ok := w.machine.launched(action{slot: slot, attempt: attempt}, w.now)
		if !ok {
			w.broken("slot %d: a launch that was wanted is not any more", slot)
		}
		w.perform(todo)
		return
	}
}

func (w *world) failLaunch(slot int, what fault) {
	for attempt := range w.launches[slot] {
		delete(w.launches[slot], attempt)
		w.perform(w.machine.notLaunched(action{slot: slot, attempt: attempt}, w.now, what, "exit 1"))
		return
	}
}

func (w *world) endWait(slot int) {
	for attempt, until := range w.waits[slot] {
		w.now = until
		delete(w.waits[slot], attempt)
		w.perform(w.machine.due(action{slot: slot, attempt: attempt}))
		return
	}
}

// TestMachineHoldsOverRandomSchedules plays random lives: whatever happens in whatever order, no slot has two things under
// way, nothing lives that is not wanted, nothing that is wanted is forgotten, and every wait is within its bounds.
func TestMachineHoldsOverRandomSchedules(t *testing.T) {
	t.Parallel()
	for seed := range uint64(schedules) {
		random := rand.New(rand.NewPCG(seed, 7))
		budget := Budget{Max: 1 + random.IntN(4), Window: time.Duration(1+random.IntN(120)) * time.Second}
		w := newWorld(budget, 1+random.IntN(3), random.Float64)
		w.perform(w.machine.start())
		for range 30 {
			w.step(random)
		}
		if w.trouble == "" {
			w.recover()
		}
		if w.trouble != "" {
			t.Fatalf("schedule %d: %s", seed, w.trouble)
		}
	}
}

// recover lets every launch succeed from here on: after a start each slot must be up.
func (w *world) recover() {
	w.perform(w.machine.start())
	for range 4 {
		for slot := range w.alive {
			w.endWait(slot)
			w.succeed(slot)
		}
	}
	w.check()
	if state, _ := w.machine.state(); state != Ready || w.machine.count(up) != len(w.alive) || !w.machine.settled() {
		w.broken("%s with %d of %d up after a start that went well", state, w.machine.count(up), len(w.alive))
	}
}

// TestBudgetIsTheModules: instances share it, and a crash within it is answered at once.
func TestBudgetIsTheModules(t *testing.T) {
	t.Parallel()
	w := newWorld(Budget{Max: 2, Window: time.Minute}, 2, never)
	w.perform(w.machine.start())
	both := func() { w.succeed(0); w.succeed(1) }
	both()
	for slot := range 2 {
		w.crash(slot)
		require.Len(t, w.launches[slot], 1, "within the budget a relaunch is immediate")
	}
	require.Equal(t, Starting, stateOf(w.machine))
	both()
	w.crash(0)
	require.Equal(t, Ready, stateOf(w.machine), "the other one serves")
	require.Len(t, w.waits[0], 1)
	w.crash(1)
	require.Equal(t, CrashLoop, stateOf(w.machine))
	require.Equal(t, 2*time.Second, w.waits[1][w.machine.slots[1].attempt].Sub(w.now), "delays grow over both")
	w.endWait(0)
	require.Equal(t, CrashLoop, stateOf(w.machine), "an attempt is not yet a recovery")
	w.succeed(0)
	require.Equal(t, Ready, stateOf(w.machine))
	require.Equal(t, 3, w.machine.relaunches)
}

func stateOf(m *machine) State {
	state, _ := m.state()
	return state
}

// TestRollingRestartTakesOneAtATime and leaves the old ones alone when a new one fails.
func TestRollingRestartTakesOneAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(Budget{Max: 2, Window: time.Minute}, 3, never)
	w.perform(w.machine.start())
	underWay := func() (slots []int) {
		for i := range w.launches {
			if len(w.launches[i]) > 0 {
				slots = append(slots, i)
			}
		}
		return slots
	}
	require.Equal(t, []int{0, 1, 2}, underWay())
	for slot := range 3 {
		w.succeed(slot)
	}
	w.perform(w.machine.restart())
	for slot := range 3 {
		require.Equal(t, []int{slot}, underWay())
		require.Equal(t, 3, w.machine.count(up), "the old one serves until the new one does")
		require.False(t, w.machine.settled())
		w.succeed(slot)
	}
	require.True(t, w.machine.settled())
	require.Zero(t, w.machine.relaunches)

	w.perform(w.machine.restart())
	w.failLaunch(0, faultCrash)
	require.Empty(t, underWay())
	require.Equal(t, 3, w.machine.count(up))
	require.True(t, w.machine.settled())
	require.Empty(t, w.machine.policy.crashes, "what never served has not crashed")
	require.Empty(t, w.trouble)
}

// TestCrashDuringARenewal: the successor that is on its way takes the place.
func TestCrashDuringARenewal(t *testing.T) {
	t.Parallel()
	w := newWorld(Budget{Max: 2, Window: time.Minute}, 1, never)
	w.perform(w.machine.start())
	w.succeed(0)
	w.perform(w.machine.restart())
	w.crash(0)
	require.Equal(t, Starting, stateOf(w.machine))
	require.Len(t, w.launches[0], 1, "one process, not two")
	w.succeed(0)
	require.Equal(t, Ready, stateOf(w.machine))
	require.True(t, w.machine.settled())
	require.Empty(t, w.trouble)
}

// TestFaultsOfTheHost do not count against the module.
func TestFaultsOfTheHost(t *testing.T) {
	t.Parallel()
	w := newWorld(Budget{Max: 1, Window: time.Minute}, 1, never)
	w.perform(w.machine.start())
	var delays []time.Duration
	for range 3 {
		w.failLaunch(0, faultHost)
		require.Equal(t, Backoff, stateOf(w.machine))
		delays = append(delays, w.waits[0][w.machine.slots[0].attempt].Sub(w.now))
		w.endWait(0)
	}
	require.Equal(t, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}, delays)
	w.succeed(0)
	w.crash(0)
	require.Equal(t, Starting, stateOf(w.machine), "the budget is untouched")
	w.failLaunch(0, faultPermanent)
	require.Equal(t, Failed, stateOf(w.machine))
	require.Empty(t, w.launches[0])
	require.Empty(t, w.waits[0])
	w.perform(w.machine.start())
	w.succeed(0)
	require.Equal(t, Ready, stateOf(w.machine))
}

func TestWhatIsOutOfDateIsIgnored(t *testing.T) {
	t.Parallel()
	m := newMachine(Budget{Max: 1, Window: time.Minute}, 1, never)
	first := m.start()[0]
	m.stop()
	second := m.start()[0]
	_, ok := m.launched(first, time.Now())
	require.False(t, ok)
	require.Nil(t, m.notLaunched(first, time.Now(), faultCrash, "x"))
	require.Nil(t, m.due(second))
	require.Nil(t, m.ended(0, time.Now(), "x"))
	_, ok = m.launched(second, time.Now())
	require.True(t, ok)
}

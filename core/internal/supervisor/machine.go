package supervisor

import "time"

// machine is the state of one module's instances, and decides what is done next. It reads no clock, starts no goroutine and
// touches no process: the runner tells it what happened and carries out the actions that it returns. Not safe for concurrent
// use.
type machine struct {
	policy policy
	slots  []slot
	wanted bool // whether instances are to run
	begun  bool // whether that was ever said
	held   bool // by a dependency: not to be started
	// away says what the instances have made way for; "" = nothing.
	away string
	// attempts counts the launches and waits there have been.
	attempts int
	// rolling are the slots that a restart has yet to renew; the first one is under way.
	rolling []int
	// failure says why a relaunch would be pointless; hostFaults counts launches that failed before there was a process.
	failure    string
	hostFaults int
	// why says how the last instance ended, or why the last launch failed.
	why string
	// relaunches counts launches that followed a crash or a failed launch.
	relaunches int
}

// slot is the place of one instance.
type slot struct {
	phase    phase
	readyAt  time.Time
	renewing bool // up, while its successor is launched
	attempt  int  // of the launch or wait that is under way: what an earlier one reports is out of date
}

type phase uint8

const (
	idle      phase = iota // nothing runs, and nothing is planned
	launching              // a process is on its way to ready
	up
	waiting // for the next launch
)

// verb is what the runner has to do.
type verb uint8

const (
	doLaunch verb = iota // a process for the slot
	doWait               // for delay, and report due
	doAdmit              // the instance that was launched takes requests, instead of its predecessor if there is one
	doRetire             // the slot's instance finishes what it does, and stops
	doAbort              // the launch, or the wait, that is under way
)

type action struct {
	do      verb
	slot    int
	attempt int
	delay   time.Duration
}

// fault is what kind of failure a launch ended in.
type fault uint8

const (
	faultCrash     fault = iota // the module's: it counts against the budget
	faultHost                   // the machine's, or that of files being replaced: tried again, with growing delays
	faultPermanent              // a relaunch of the same files would end the same way
)

func newMachine(budget Budget, instances int, random func() float64) *machine {
	return &machine{policy: policy{budget: budget, random: random}, slots: make([]slot, max(1, instances))}
}

// start launches every slot in which nothing runs. Earlier crashes are forgiven: somebody has seen to them.
func (m *machine) start() (todo []action) {
	m.begun = true
	m.wanted, m.held, m.away = true, false, ""
	m.failure, m.why, m.hostFaults = "", "", 0
	m.policy.forgive()
	for i := range m.slots {
		switch s := &m.slots[i]; s.phase {
		case idle:
			todo = append(todo, m.launch(i))
		case waiting:
			todo = append(todo, action{do: doAbort, slot: i, attempt: s.attempt}, m.launch(i))
		case launching, up:
		}
	}
	return todo
}

// hold marks a module that must not start yet.
func (m *machine) hold(why string) { m.held, m.why = true, why }

// stop ends every slot.
func (m *machine) stop() (todo []action) {
	m.begun, m.wanted, m.held, m.away, m.rolling = true, false, false, "", nil
	for i := range m.slots {
		todo = append(todo, m.end(i)...)
	}
	return todo
}

func (m *machine) end(i int) (todo []action) {
	s := &m.slots[i]
	if s.phase == launching || s.phase == waiting || s.renewing {
		todo = append(todo, action{do: doAbort, slot: i, attempt: s.attempt})
	}
	if s.phase == up {
		todo = append(todo, action{do: doRetire, slot: i})
	}
	s.phase, s.renewing = idle, false
	return todo
}

// makeWay ends every slot, for what must not run beside its instances: until start or takeOver follows, callers wait.
func (m *machine) makeWay(why string) (todo []action) {
	m.away, m.rolling = why, nil
	m.failure, m.why, m.hostFaults = "", "", 0
	for i := range m.slots {
		todo = append(todo, m.end(i)...)
	}
	return todo
}

// takeOver puts new instances, which are ready, in the place of all slots: whoever calls it has them, and retires the others.
// What was under way for those is given up, and their failures are forgotten.
func (m *machine) takeOver(instances int, budget Budget, now time.Time) (todo []action) {
	for i, s := range m.slots {
		if s.phase == launching || s.phase == waiting || s.renewing {
			todo = append(todo, action{do: doAbort, slot: i, attempt: s.attempt})
		}
	}
	m.begun, m.wanted, m.held, m.away, m.rolling = true, true, false, "", nil
	m.failure, m.why, m.hostFaults = "", "", 0
	m.policy = policy{budget: budget, random: m.policy.random}
	m.slots = make([]slot, instances)
	for i := range m.slots {
		m.slots[i] = slot{phase: up, readyAt: now}
	}
	return todo
}

// restart renews every instance, one after the other, and starts what does not run.
func (m *machine) restart() (todo []action) {
	m.rolling = nil
	for i, s := range m.slots {
		if s.phase == up && !s.renewing {
			m.rolling = append(m.rolling, i)
		}
	}
	todo = m.start()
	return append(todo, m.roll()...)
}

// roll begins to renew the next slot, if there is one that is up; the others are being launched anew anyway.
func (m *machine) roll() []action {
	for len(m.rolling) > 0 {
		if s := &m.slots[m.rolling[0]]; s.phase == up {
			s.renewing = true
			return []action{m.launchNext(m.rolling[0])}
		}
		m.rolling = m.rolling[1:]
	}
	return nil
}

func (m *machine) launch(i int) action {
	m.slots[i].phase = launching
	return m.launchNext(i)
}

func (m *machine) launchNext(i int) action {
	m.slots[i].attempt = m.attempt()
	return action{do: doLaunch, slot: i, attempt: m.slots[i].attempt}
}

func (m *machine) attempt() int {
	m.attempts++
	return m.attempts
}

// isCurrent tells whether what is reported of a launch or wait is about the one that the slot is at.
func (m *machine) isCurrent(a action) bool {
	return a.slot < len(m.slots) && m.slots[a.slot].attempt == a.attempt
}

// launched reports that a launch succeeded. ok is false if nobody wants its instance any more.
func (m *machine) launched(a action, now time.Time) (todo []action, ok bool) {
	if !m.isCurrent(a) {
		return nil, false
	}
	i, s := a.slot, &m.slots[a.slot]
	if s.phase != launching && !s.renewing {
		return nil, false
	}
	s.phase, s.readyAt, s.renewing = up, now, false
	m.failure, m.hostFaults, m.why = "", 0, ""
	todo = []action{{do: doAdmit, slot: i}}
	if len(m.rolling) > 0 && m.rolling[0] == i { // also if the predecessor crashed meanwhile
		m.rolling = m.rolling[1:]
		todo = append(todo, m.roll()...)
	}
	return todo, true
}

// notLaunched reports that a launch failed.
func (m *machine) notLaunched(a action, now time.Time, what fault, why string) []action {
	if !m.isCurrent(a) {
		return nil
	}
	i, s := a.slot, &m.slots[a.slot]
	if s.phase != launching && !s.renewing {
		return nil
	}
	m.rolling = nil // there is no point in renewing the others
	if s.renewing { // the predecessor goes on
		s.renewing = false
		return nil
	}
	m.why = why
	switch what {
	case faultPermanent:
		s.phase, m.failure = idle, why
		return nil
	case faultHost:
		m.hostFaults++
		return m.wait(i, backoff(m.hostFaults-1, m.policy.random()))
	case faultCrash:
	}
	return m.relaunch(i, now, 0)
}

// ended reports that a slot's instance crashed.
func (m *machine) ended(i int, now time.Time, why string) []action {
	s := &m.slots[i]
	if s.phase != up {
		return nil
	}
	m.why = why
	if s.renewing { // its successor is under way already
		m.policy.next(now, now.Sub(s.readyAt))
		m.relaunches++
		s.phase, s.renewing = launching, false
		return nil
	}
	return m.relaunch(i, now, now.Sub(s.readyAt))
}

func (m *machine) relaunch(i int, now time.Time, uptime time.Duration) []action {
	if delay := m.policy.next(now, uptime); delay > 0 {
		return m.wait(i, delay)
	}
	m.relaunches++
	return []action{m.launch(i)}
}

func (m *machine) wait(i int, delay time.Duration) []action {
	s := &m.slots[i]
	s.phase = waiting
	s.attempt = m.attempt()
	return []action{{do: doWait, slot: i, attempt: s.attempt, delay: delay}}
}

// due reports that a wait is over.
func (m *machine) due(a action) []action {
	if !m.isCurrent(a) || m.slots[a.slot].phase != waiting {
		return nil
	}
	m.relaunches++
	return []action{m.launch(a.slot)}
}

// count returns how many slots are in a phase.
func (m *machine) count(p phase) (n int) {
	for _, s := range m.slots {
		if s.phase == p {
			n++
		}
	}
	return n
}

// state is what the slots amount to. A module with one instance that works is ready, whatever the others do.
func (m *machine) state() (State, string) {
	switch {
	case m.count(up) > 0:
		return Ready, ""
	case m.away != "":
		return Starting, m.away
	case m.held:
		return Held, m.why
	case !m.wanted && m.begun:
		return Stopped, ""
	case m.count(idle) == len(m.slots) && m.failure != "":
		return Failed, m.failure
	case m.policy.over > 0:
		return CrashLoop, "it keeps failing (" + m.why + "); it is tried again at least every " + maxBackoff.String()
	case m.hostFaults > 0:
		return Backoff, "it could not be launched (" + m.why + ")"
	case m.why != "":
		return Starting, "it is restarting after " + m.why
	}
	return Starting, "it is starting"
}

// settled tells whether the module is where it was asked to be, or known not to get there soon.
func (m *machine) settled() bool {
	state, _ := m.state()
	return (state != Starting || m.why != "") && len(m.rolling) == 0
}

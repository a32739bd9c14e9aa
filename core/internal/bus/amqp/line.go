package amqp

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	amqp091 "github.com/rabbitmq/amqp091-go"
)

// How long to wait before a broker is tried again: twice as long each time, give or take half of it.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

// session is one connection, from when it is up until it is lost. It never changes, so what belongs to it, such as tags of
// deliveries, is not mistaken for another's.
type session struct {
	conn    *amqp091.Connection
	socket  *socket
	lost    chan struct{} // closed when the connection is
	blocked gate

	// Of the publishing connection.
	publisher *publisher
	unsure    *amqp091.Channel // for what may be lost
}

// kill ends a session at once, for whoever waits for it, too.
func (s *session) kill() { _ = s.socket.Close() }

func (s *session) isLost() bool {
	select {
	case <-s.lost:
		return true
	default:
		return false
	}
}

// line keeps one connection up.
type line struct {
	name    string
	outages *outages
	prepare func(context.Context, *session) error // before anybody gets it

	mu  sync.Mutex
	now *session
	up  chan struct{} // closed when now is set
	why error         // it is not up
}

func newLine(name string, o *outages, prepare func(context.Context, *session) error) *line {
	return &line{name: name, outages: o, prepare: prepare, up: make(chan struct{})}
}

// session waits until there is one.
func (l *line) session(ctx context.Context) (*session, error) {
	for {
		l.mu.Lock()
		now, up, why := l.now, l.up, l.why
		l.mu.Unlock()
		if now != nil {
			return now, nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, why
		}
	}
}

// current is the session if there is one.
func (l *line) current() *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// run connects, and connects again, until ctx ends.
func (l *line) run(ctx context.Context, o *Options) {
	for pause := firstPause; ctx.Err() == nil; {
		s, err := l.connect(ctx, o)
		if err == nil {
			pause = firstPause
			l.set(s)
			l.outages.over(l.name)
			select {
			case <-s.lost:
				err = s.socket.why()
			case <-ctx.Done():
				hangUp(s)
			}
		}
		if ctx.Err() != nil {
			break
		}
		l.unset(err)
		l.outages.begin(l.name, err)
		rest(ctx, pause/2+rand.N(pause))
		pause = min(2*pause, lastPause)
	}
	l.unset(nil)
}

// rest waits, unless ctx ends.
func rest(ctx context.Context, pause time.Duration) {
	over := time.NewTimer(pause)
	defer over.Stop()
	select {
	case <-over.C:
	case <-ctx.Done():
	}
}

func (l *line) set(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now, l.why = s, nil
	close(l.up)
}

func (l *line) unset(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now != nil {
		l.now, l.up = nil, make(chan struct{})
	}
	l.why = why
}

// connect makes a session. The goroutines in it end with its connection.
func (l *line) connect(ctx context.Context, o *Options) (*session, error) {
	s := &session{lost: make(chan struct{})}
	properties := amqp091.NewConnectionProperties()
	properties.SetClientConnectionName("platformd " + l.name)
	conn, err := amqp091.DialConfig(o.URL.Reveal(), amqp091.Config{
		Heartbeat: o.Heartbeat, Properties: properties,
		Dial: func(network, address string) (net.Conn, error) {
			raw, err := (&net.Dialer{Timeout: dialWait}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			s.socket = newSocket(raw, 3*o.Heartbeat)
			return s.socket, raw.SetDeadline(time.Now().Add(dialWait))
		},
	})
	if err != nil {
		if s.socket != nil {
			_ = s.socket.Close()
		}
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	s.conn = conn
	s.socket.open.Store(true)
	blocked := conn.NotifyBlocked(make(chan amqp091.Blocking, 8))
	closed := conn.NotifyClose(make(chan *amqp091.Error, 1))
	go func() { // ends with the connection, which line.run waits for
		defer close(s.lost)
		for blocking := range blocked {
			s.blocked.set(blocking.Active)
		}
		if err := <-closed; err != nil {
			s.socket.blame(err)
		}
	}()
	stop := context.AfterFunc(ctx, s.kill)
	defer stop()
	if err := l.prepare(ctx, s); err != nil {
		hangUp(s)
		return nil, err
	}
	return s, nil
}

// hangUp says good-bye and waits until the connection is gone.
func hangUp(s *session) {
	cut := time.AfterFunc(closeWait, s.kill)
	defer cut.Stop()
	_ = s.conn.CloseDeadline(time.Now().Add(closeWait)) // or the broker notices by itself
	s.kill()
	<-s.lost
}

// gate is shut while the broker takes nothing.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // closed when it opens; nil while it is open
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case shut && g.shut == nil:
		g.shut = make(chan struct{})
	case !shut && g.shut != nil:
		close(g.shut)
		g.shut = nil
	}
}

// opens is closed when the gate is open; nil means that it is.
func (g *gate) opens() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// outages tells of each once, however many connections it cuts and however often they are tried.
type outages struct {
	log     hclog.Logger
	address string
	mu      sync.Mutex
	down    map[string]bool
	told    time.Time // when it was told last that the broker answers and confirms nothing
}

func (o *outages) begin(line string, why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.down) == 0 {
		o.log.Warn("the event broker does not answer; trying again until it does (fix: see that RabbitMQ runs, and events.url)",
			"address", o.address, "error", why)
		o.down = map[string]bool{}
	}
	o.down[line] = true
}

func (o *outages) over(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down[line] {
		delete(o.down, line)
		if len(o.down) == 0 {
			o.log.Info("the event broker answers again", "address", o.address)
		}
	}
}

// A broker that has not confirmed an event after confirmWait is told of, but not again for quietFor.
const (
	confirmWait = 4 * time.Second
	quietFor    = time.Minute
)

// unconfirmed tells that the broker, which is there, has not confirmed what was published under a key.
func (o *outages) unconfirmed(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.told) < quietFor {
		return
	}
	o.told = time.Now()
	o.log.Warn("the event broker is there, and does not confirm what is published (fix: see in its log whether it is overloaded or "+
		"short of memory or disk; or else `rabbitmq-queues quorum_status QUEUE` shows which queue that gets it has no leader, and "+
		"docs/events.md what to do then)", "address", o.address, "key", key)
}

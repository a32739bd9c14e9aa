package embedded

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// channel is where daemons on PostgreSQL tell each other what is ready.
const channel = "platformd_bus"

// maxMessage is how long a message to it may be; the server takes 7,999 bytes.
const maxMessage = 4000

// news says for which lanes something has become ready.
type news struct {
	all   bool
	lanes map[int64]bool
}

// news is what other daemons should know.
func (t *turn) news() news { return news{lanes: t.touched} }

// notify tells the other daemons, when the transaction is committed.
func (t *turn) notify() error {
	if !t.b.server || len(t.touched) == 0 {
		return nil
	}
	var message strings.Builder
	message.WriteString(t.b.origin)
	for _, lane := range sorted(t.touched) {
		fmt.Fprint(&message, " ", lane)
	}
	text := message.String()
	if len(text) > maxMessage {
		text = t.b.origin + " all"
	}
	return t.tx.Exec("SELECT pg_notify(?, ?)", channel, text).Error
}

// listen hears what other daemons on PostgreSQL tell, until the bus is closed.
func (b *Bus) listen() {
	away := &outage{log: quiet{}}
	for b.open.Err() == nil {
		err := postgres.Listen(b.open, b.db, channel, func(message string) {
			away.tell(nil)
			b.told(message)
		})
		if b.open.Err() != nil {
			return
		}
		if away.pause == 0 {
			b.o.Log.Warn("the event bus does not hear other daemons; looking every few seconds", "error", err)
		}
		away.tell(err)
		timer := time.NewTimer(away.pause)
		select {
		case <-b.open.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// quiet is a log that says nothing.
type quiet struct{}

// Error implements the log of an outage.
func (quiet) Error(string, ...any) {}

// Info implements the log of an outage.
func (quiet) Info(string, ...any) {}

// told understands a message of another daemon.
func (b *Bus) told(message string) {
	words := strings.Fields(message)
	n := news{all: len(words) == 0, lanes: make(map[int64]bool)} // it has just begun to listen
	for i, word := range words {
		lane, err := strconv.ParseInt(word, 10, 64)
		switch {
		case i == 0 && word == b.origin:
			return
		case i == 0:
		case err != nil: // "all", or of a newer binary
			n.all = true
		default:
			n.lanes[lane] = true
		}
	}
	b.heard(n)
}

// heard has consumers look.
func (b *Bus) heard(n news) {
	b.mu.Lock()
	for c := range b.consumers {
		if n.all || n.lanes[c.lane()] || c.lane() == 0 {
			c.look = true
			c.overdue = c.overdue || n.all
		}
	}
	b.mu.Unlock()
	b.wake()
}

// hub is for several buses over one SQLite file: they are in one process.
type hub struct {
	mu    sync.Mutex
	buses map[*Bus]bool
}

func (h *hub) join(b *Bus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.buses == nil {
		h.buses = make(map[*Bus]bool)
	}
	h.buses[b] = true
}

func (h *hub) leave(b *Bus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.buses, b)
}

// tell tells all the others.
func (h *hub) tell(from *Bus, n news) {
	if !n.all && len(n.lanes) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for b := range h.buses {
		if b != from {
			b.heard(n)
		}
	}
}

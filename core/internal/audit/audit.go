// Package audit keeps what was done, by whom, through which module, and how it ended, as rows that are only ever added. Each
// row holds a hash of its content and of the row before it, so that what was changed afterwards can be found (Verify).
//
// What the chain proves: no row of it was edited, removed, added in between or moved, as long as whoever tried could not make
// it anew. What it does not prove: who holds the core's own credentials, or its file, can rewrite the whole chain from any row
// on, and its head with it, and nothing in the database tells. That is found only by a copy of a head's sequence number and hash
// kept where they cannot reach it: Verify compares it (Expect). Nor does the chain prove that what a row says is true, or that
// nothing was done without a row. On PostgreSQL the tables lie in the core's schema, where no role of a module has any right;
// on SQLite in the core's file.
//
// Floor 2. It must not decide whether something is audited, nor what happens where it cannot be: Write returns an error, and the
// caller goes on or refuses.
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/link"
)

// KindCore is the kind of the principal that stands for platformd itself, as in the rows that this package writes of its own.
const KindCore = "core"

// The actions of this package's own rows.
const (
	ActionDropped = "audit.dropped" // entries of TryWrite that found no room; details: {"count": N}
	ActionPruned  = "audit.pruned"  // rows that retention removed; details: see anchor.seal
)

// Outcome is how an action ended.
type Outcome string

// The outcomes.
const (
	Allowed Outcome = "allowed" // a decision: it may go on; how it ended is not known
	Denied  Outcome = "denied"  // a decision: nothing was done
	Done    Outcome = "done"
	Failed  Outcome = "failed"
	Unknown Outcome = "unknown" // what any other word becomes
)

// Errors of Write. What the database said is wrapped where it said something.
var (
	// ErrNotWritten means that there is no row, and will be none.
	ErrNotWritten = errors.New("the audit row could not be written (fix: see that the database runs and has room)")
	// ErrUncertain means that there may be a row: the database did not say, or the caller did not wait.
	ErrUncertain = errors.New("whether the audit row was written is not known (fix: look for it with `platformd audit search`)")
	// ErrClosed means that Run has ended.
	ErrClosed = errors.New("the audit log is closed: platformd is stopping (fix: try again when it is up)")
)

// Entry is what is to be remembered. The service adds the time. What does not fit into a row is cut or replaced, and the row
// says in which fields; see Row.Cleaned.
type Entry struct {
	Actor     link.Principal  // who did it
	Via       string          // the module that asked on the actor's behalf; empty: nobody stood between
	Action    string          // such as auth.login, role.grant, module.call
	Resource  string          // what it was done to
	Outcome   Outcome         // how it ended
	RequestID string          // of the request that led to it
	TraceID   string          // of its trace
	Address   string          // where it came from
	Details   json.RawMessage // more of it: an object of at most 4 KiB; Details makes one
}

// Details makes an object of names and values, one after the other.
func Details(pairs ...string) json.RawMessage {
	object := make(map[string]string, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		value := ""
		if i+1 < len(pairs) {
			value = pairs[i+1]
		}
		object[pairs[i]] = value
	}
	return encodeJSON(object)
}

// Options say how the log is kept. The zero value is usable.
type Options struct {
	// Retention is the age from which on Run removes rows, once a day; 0 = they are kept for ever.
	Retention time.Duration
	// Log is told of outages, of what was dropped and of what was removed; nil discards it.
	Log hclog.Logger
}

const (
	queueSize = 1024 // entries that wait for the writer, for each of Write and TryWrite
	batchSize = 256  // rows in one transaction
	// writeWait bounds Write, commitWait one transaction.
	writeWait  = 10 * time.Second
	commitWait = 8 * time.Second
	// tryWait is how long TryWrite's entries are gathered, so that a transaction has many of them.
	tryWait = 250 * time.Millisecond
	// reportEvery is how often a row tells of what was dropped, at most; pollEvery how soon Tail sees another daemon's rows.
	reportEvery = time.Second
	pollEvery   = time.Second
)

// Service is safe for concurrent use. Nothing is written unless Run runs.
type Service struct {
	Options
	db  *gorm.DB
	now func() time.Time

	writes  chan *pending // of Write
	tries   chan *pending // of TryWrite: a flood of these does not keep the others waiting
	many    chan struct{} // has room for one: tries hold a batch
	arrived atomic.Int64  // entries so far
	dropped atomic.Int64  // not yet told of by a row
	running atomic.Bool
	ended   chan struct{} // closed when Run has ended
	written broadcast

	wait, commitWait time.Duration
}

// New returns the service over the core's database, whose tables it makes or brings up to date.
func New(ctx context.Context, db *gorm.DB, o Options) (*Service, error) {
	if err := storage.MigrateCore(db.WithContext(ctx), "audit", steps()...); err != nil {
		return nil, err
	}
	if o.Retention < 0 || o.Retention > 0 && o.Retention < minAge {
		return nil, errTooYoung
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	return &Service{
		Options: o, db: db, now: db.NowFunc, ended: make(chan struct{}), wait: writeWait, commitWait: commitWait,
		writes: make(chan *pending, queueSize), tries: make(chan *pending, queueSize),
		many: make(chan struct{}, 1),
	}, nil
}

// Write adds a row and returns when the database has committed it. It waits for ctx and 10 s at most. After ErrNotWritten and
// ErrClosed there is no row, after ErrUncertain there may be one. The caller decides whether to go on without.
func (s *Service) Write(ctx context.Context, e Entry) error {
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	p := s.pending(e)
	p.done = make(chan error, 1)
	select {
	case s.writes <- p:
	case <-s.ended:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("%w: no room in the queue: %w", ErrNotWritten, context.Cause(ctx))
	}
	select {
	case err := <-p.done:
		return err
	case <-s.ended:
		if p.claim() {
			return ErrClosed
		}
		return <-p.done // the writer answered before it ended
	case <-ctx.Done():
		if p.claim() {
			return fmt.Errorf("%w: its turn did not come: %w", ErrNotWritten, context.Cause(ctx))
		}
		return fmt.Errorf("%w: %w", ErrUncertain, context.Cause(ctx))
	}
}

// TryWrite is for what anybody can cause as often as they like, such as requests: it never blocks, and promises no row. Rows come
// within a quarter of a second, many in one transaction. What finds no room in the queue, or no database, is counted: a row says
// how many as soon as one can be written, once a second at most. That count is lost if the process is killed.
func (s *Service) TryWrite(e Entry) {
	select {
	case s.tries <- s.pending(e):
		s.wakeForMany()
	default:
		s.dropped.Add(1)
	}
}

func (s *Service) pending(e Entry) *pending {
	return &pending{row: s.stamp(e), arrival: s.arrived.Add(1)}
}

func (s *Service) stamp(e Entry) row {
	r := e.clean()
	r.At = s.now().UnixMicro()
	return r
}

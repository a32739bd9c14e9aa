package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/plugin-api/db/backend"
)

// The advisory locks on PostgreSQL. routesLock is shared by those who use subscriptions; it is exclusive for who changes them.
// Together with orderedLock, a number of its own, a subscription's id locks its order: who publishes to it, or ends a delivery,
// must see what others did before.
const (
	routesLock  = 0x706c6174666f726d // "platform"
	orderedLock = 0x706c6174         // "plat"
)

// settings are PostgreSQL's for one transaction. A daemon whose machine has gone must not keep locks until TCP notices. And each
// statement goes by an index: a plan that was made while a queue was empty would read all of it when it is long.
const settings = "set_config('enable_seqscan', 'off', true) || set_config('enable_hashjoin', 'off', true) || " +
	"set_config('enable_mergejoin', 'off', true) || set_config('jit', 'off', true) || " +
	"set_config('idle_in_transaction_session_timeout', '10s', true)"

// start says how a transaction begins.
type start struct {
	exclusive bool // it changes subscriptions
	unsynced  bool // its commit need not wait for the disk
}

// begin reads the clock, and on PostgreSQL locks the subscriptions.
func begin(tx *gorm.DB, how start) (now int64, err error) {
	if tx.Name() != backend.PostgreSQL {
		return time.Now().UnixMicro(), nil // whoever writes is alone
	}
	lock, set := "pg_advisory_xact_lock_shared", settings
	if how.exclusive {
		lock = "pg_advisory_xact_lock"
	}
	if how.unsynced {
		set += " || set_config('synchronous_commit', 'off', true)"
	}
	err = tx.Raw("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint) AS now, "+
		set+", CAST("+lock+"(?) AS text)", routesLock).
		Row().Scan(&now, new(string), new(string))
	return now, err
}

// table is SQL for rows that are given as one parameter, a JSON array of arrays: so a statement's text, which the server prepares
// once, does not depend on how many there are. Columns whose name ends with $ are texts, the others numbers.
func table(tx *gorm.DB, columns ...string) string {
	var list []string
	server := tx.Name() == backend.PostgreSQL
	for i, column := range columns {
		value := fmt.Sprintf("value->>%d", i)
		name, text := strings.CutSuffix(column, "$")
		if server && !text {
			value = "CAST(" + value + " AS bigint)"
		}
		list = append(list, value+" AS "+name)
	}
	from := "json_each(?)"
	if server {
		from = "jsonb_array_elements(CAST(CAST(? AS text) AS jsonb)) AS given(value)"
	}
	return "(SELECT " + strings.Join(list, ", ") + " FROM " + from + ") AS j"
}

// values is the parameter of a table.
func values(rows [][]any) string {
	text, err := json.Marshal(rows)
	if err != nil {
		panic(err) // numbers and texts
	}
	return string(text)
}

// lockOrdered locks the ordered subscriptions that this transaction adds to or takes from, in an order that all keep.
func (t *turn) lockOrdered() error {
	if !t.b.server {
		return nil
	}
	subs := map[int64]bool{}
	for _, s := range t.settles {
		if r := t.routes[s.sub]; r != nil && r.Ordered {
			subs[s.sub] = true
		}
	}
	for _, row := range t.rows {
		for _, r := range row.targets {
			if r.Ordered {
				subs[r.ID] = true
			}
		}
	}
	for _, sub := range sorted(subs) {
		if err := t.tx.Exec("SELECT pg_advisory_xact_lock(?, CAST(? AS int))", orderedLock, sub).Error; err != nil {
			return err
		}
	}
	return nil
}

func sorted(set map[int64]bool) []int64 {
	all := make([]int64, 0, len(set))
	for n := range set {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}

// settle carries out verdicts.
func (t *turn) settle() error {
	var gone, rest [][]any
	for _, s := range t.settles {
		t.passed[s.sub] = t.passed[s.sub] || s.passed
		if s.gone {
			gone = append(gone, []any{s.seq, s.sub, s.holder})
			continue
		}
		due, died, why := int64(0), int64(0), bus.Failure{}
		if s.after > 0 {
			due = t.now + s.after.Microseconds()
		}
		if s.why != nil {
			died, why = t.now, *s.why
		}
		rest = append(rest, []any{s.seq, s.sub, s.holder, s.state, due, s.attempts, s.cuts, died, why.Reason, why.Error})
	}
	lanes := map[lane]bool{}
	if err := t.remove(gone, lanes); err != nil {
		return err
	}
	if err := t.change(rest, lanes); err != nil {
		return err
	}
	return t.promote(lanes)
}

// lane is a key of an ordered subscription.
type lane struct {
	sub int64
	key string
}

// remove removes deliveries, and the events of which they were the last.
func (t *turn) remove(gone [][]any, lanes map[lane]bool) error {
	if len(gone) == 0 {
		return nil
	}
	events := values(gone)
	if t.b.server { // of two daemons that end the last two deliveries of an event one must see that it is the last
		err := t.tx.Exec("SELECT seq FROM bus_events WHERE seq IN (SELECT seq FROM "+table(t.tx, "seq")+") ORDER BY seq FOR UPDATE",
			events).Error
		if err != nil {
			return err
		}
	}
	err := t.each("DELETE FROM bus_deliveries WHERE (seq, sub, holder) IN (SELECT seq, sub, holder FROM "+
		table(t.tx, "seq", "sub", "holder")+") RETURNING sub, key, state, due", events, lanes)
	if err != nil {
		return err
	}
	return t.tx.Exec("DELETE FROM bus_events WHERE seq IN (SELECT seq FROM "+table(t.tx, "seq")+") AND NOT EXISTS "+
		"(SELECT 1 FROM bus_deliveries d WHERE d.seq = bus_events.seq)", events).Error
}

// change frees deliveries, for now or for later, or lets them die.
func (t *turn) change(rest [][]any, lanes map[lane]bool) error {
	if len(rest) == 0 {
		return nil
	}
	return t.each("UPDATE bus_deliveries SET state = jstate, due = jdue, holder = 0, attempts = attempts + more, "+
		"cuts = cuts + cut, died_at = CASE WHEN died > 0 THEN died ELSE died_at END, "+
		"reason = CASE WHEN died > 0 THEN jreason ELSE reason END, error = CASE WHEN died > 0 THEN jerror ELSE error END FROM "+
		table(t.tx, "jseq", "jsub", "jholder", "jstate", "jdue", "more", "cut", "died", "jreason$", "jerror$")+
		" WHERE seq = jseq AND sub = jsub AND holder = jholder RETURNING sub, key, state, due", values(rest), lanes)
}

// each runs a statement that returns the deliveries that it changed, and notes what they mean to others.
func (t *turn) each(statement, parameter string, lanes map[lane]bool) (err error) {
	rows, err := t.tx.Raw(statement, parameter).Rows()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Err(), rows.Close()) }()
	for rows.Next() {
		var l lane
		var state int
		var due int64
		if err := rows.Scan(&l.sub, &l.key, &state, &due); err != nil {
			return err
		}
		switch state {
		case ready:
			t.touch(l.sub, due)
			continue
		case dead:
			t.touch(deadLane, due)
		}
		if l.key != "" {
			lanes[l] = true
		}
	}
	return nil
}

// promote makes the first of each key ready.
func (t *turn) promote(lanes map[lane]bool) error {
	if len(lanes) == 0 {
		return nil
	}
	var keys [][]any
	for l := range lanes {
		keys = append(keys, []any{l.sub, l.key})
	}
	return t.each("UPDATE bus_deliveries SET state = 0 WHERE +state = 1 AND (seq, sub) IN (SELECT (SELECT d.seq FROM "+
		"bus_deliveries d WHERE d.sub = j.sub AND d.key = j.key AND d.key <> '' AND d.state < 3 ORDER BY d.seq LIMIT 1), j.sub FROM "+
		table(t.tx, "sub", "key$")+") RETURNING sub, key, state, due", values(keys), map[lane]bool{})
}

// removeDeliveries removes what is not dead of a subscription. Nobody else publishes or settles meanwhile.
func removeDeliveries(tx *gorm.DB, sub int64) error {
	err := tx.Exec("DELETE FROM bus_events WHERE seq IN (SELECT seq FROM bus_deliveries WHERE sub = ? AND state < 3) "+
		"AND NOT EXISTS (SELECT 1 FROM bus_deliveries d WHERE d.seq = bus_events.seq AND d.sub <> ?)", sub, sub).Error
	if err != nil {
		return err
	}
	return tx.Exec("DELETE FROM bus_deliveries WHERE sub = ? AND state < 3", sub).Error
}

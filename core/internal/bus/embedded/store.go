package embedded

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/platformd/platformd/core/internal/bus"
)

// publish writes events, and a delivery for each who wants one.
func (t *turn) publish() error {
	if len(t.rows) == 0 {
		return nil
	}
	first, err := t.nextSeqs()
	if err != nil {
		return err
	}
	if err := t.writeEvents(first); err != nil {
		return err
	}
	var deliveries [][]any
	seen := map[lane]bool{}
	for i, row := range t.rows {
		for _, r := range row.targets {
			l, after := lane{sub: r.ID}, 0
			if r.Ordered {
				l.key = row.event.Key
			}
			if l.key != "" && seen[l] {
				after = 1
			}
			seen[l] = true
			deliveries = append(deliveries, []any{first + int64(i), l.sub, l.key, after})
			t.touch(r.ID, 0)
		}
	}
	return t.tx.Exec("INSERT INTO bus_deliveries (seq, sub, key, state, due, holder, attempts, cuts, reason, error, died_at) "+
		"SELECT j.seq, j.sub, j.key, CASE WHEN j.after = 1 OR j.key <> '' AND EXISTS (SELECT 1 FROM bus_deliveries d "+
		"WHERE d.sub = j.sub AND d.key = j.key AND d.key <> '' AND d.state < 3) THEN 1 ELSE 0 END, 0, 0, 0, 0, '', '', 0 FROM "+
		table(t.tx, "seq", "sub", "key$", "after"), values(deliveries)).Error
}

// nextSeqs reserves numbers, as many as one transaction needs at most, and returns the first of them.
func (t *turn) nextSeqs() (first int64, err error) {
	query := "UPDATE bus_seq SET next = next + " + fmt.Sprint(maxEvents) + " WHERE id = 1 RETURNING next"
	if t.b.server { // others need not wait until this transaction ends
		query = "SELECT nextval('bus_seq')"
	}
	return first, t.tx.Raw(query).Scan(&first).Error
}

// writeEvents writes events in as few statements as there can be with few different texts, as each is prepared.
func (t *turn) writeEvents(seq int64) error {
	for rest := t.rows; len(rest) > 0; {
		n := 1
		for 4*n <= min(len(rest), 64) {
			n *= 4
		}
		args := make([]any, 0, 4*n)
		for _, row := range rest[:n] {
			args = append(args, seq, t.now, row.attributes, row.event.Data)
			seq++
		}
		err := t.tx.Exec("INSERT INTO bus_events (seq, published_at, attributes, data) VALUES "+
			strings.Repeat("(?, ?, ?, ?), ", n-1)+"(?, ?, ?, ?)", args...).Error
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// passPause is how long this daemon leaves to others what it has given back.
const passPause = 10 * time.Millisecond

// takeAll takes what consumers have room for, where something may be.
func (t *turn) takeAll() error {
	for _, a := range t.w.asks {
		if err := t.find(a); err != nil {
			return err
		}
		if t.passed[a.sub] {
			a.next = t.now + passPause.Microseconds()
		} else if a.look || t.touched[a.sub] {
			if err := t.take(a); err != nil {
				return err
			}
		}
	}
	return nil
}

// find finds the subscription of a consumer, and makes that of a tail.
func (t *turn) find(a *ask) error {
	if a.c.dead {
		a.sub = deadLane
		return nil
	}
	r := t.named(a.c.name)
	if r == nil && a.c.tail != "" {
		if err := t.renew(); err != nil {
			return err
		}
		r = &route{Kind: tailing, Name: a.c.name, Pattern: a.c.tail, Owner: t.holder}
		err := t.tx.Raw("INSERT INTO bus_subscriptions (kind, name, module, pattern, ordered, owner) VALUES (?, ?, '', ?, 0, ?) "+
			"RETURNING id", r.Kind, r.Name, r.Pattern, r.Owner).Scan(&r.ID).Error
		if err != nil {
			return err
		}
		t.routes[r.ID] = r
	}
	if r != nil {
		a.sub = r.ID
	}
	return nil
}

// take takes as many as there is room for: first, if some are overdue, those; then those that wait for nothing.
func (t *turn) take(a *ask) (err error) {
	if a.sub == 0 {
		return nil
	}
	if a.overdue {
		if err := t.takeDue(a, 1, t.now); err != nil {
			return err
		}
	}
	if len(a.got) < a.room {
		most := t.now
		if a.overdue {
			most = 0
		}
		if err := t.takeDue(a, 0, most); err != nil {
			return err
		}
	}
	if len(a.got) > 0 {
		if err := t.hold(a); err != nil {
			return err
		}
	}
	if a.overdue && len(a.got) < a.room {
		condition, args := t.lane(a)
		err = t.tx.Raw("SELECT COALESCE(MIN(due), 0) FROM (SELECT due FROM bus_deliveries d WHERE "+condition+
			" AND due > ? ORDER BY due LIMIT 1) AS first", append(args, t.now)...).Scan(&a.next).Error
	}
	return err
}

// lane is the condition of what is ready for a consumer.
func (t *turn) lane(a *ask) (condition string, args []any) {
	if a.c.dead {
		return "d.state = 3", nil
	}
	return "d.state = 0 AND d.sub = ?", []any{a.sub}
}

// takeDue reads what is due between two times. What another daemon is taking is left to it.
func (t *turn) takeDue(a *ask, least, most int64) (err error) {
	condition, args := t.lane(a)
	query := "SELECT d.seq, d.sub, d.attempts, d.reason, d.error, d.died_at, e.attributes, e.data FROM bus_deliveries d " +
		"JOIN bus_events e ON e.seq = d.seq WHERE " + condition + " AND d.due BETWEEN ? AND ? ORDER BY d.due, d.seq LIMIT ?"
	if t.b.server {
		query += " FOR UPDATE OF d SKIP LOCKED"
	}
	rows, err := t.tx.Raw(query, append(args, least, most, a.room-len(a.got))...).Rows()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Err(), rows.Close()) }()
	for rows.Next() {
		d, text, data := &delivery{letter: a.c.dead}, "", []byte(nil)
		if err := rows.Scan(&d.seq, &d.sub, &d.attempts, &d.why.Reason, &d.why.Error, &d.diedAt, &text, &data); err != nil {
			return err
		}
		if d.event, err = decode(text, data); err != nil { // somebody has changed it
			d.event, d.broken = bus.Event{Data: data}, true
			d.why = bus.Failure{Reason: bus.ReasonMalformed, Error: err.Error()}
		}
		if r := t.routes[d.sub]; r != nil {
			d.name = r.Name
		}
		a.got = append(a.got, d)
	}
	return nil
}

// hold makes what was read this daemon's.
func (t *turn) hold(a *ask) error {
	if err := t.renew(); err != nil {
		return err
	}
	ids := make([][]any, 0, len(a.got))
	for _, d := range a.got {
		if d.holder == 0 {
			d.holder = t.holder
			ids = append(ids, []any{d.seq, d.sub})
		}
	}
	state := held
	if a.c.dead {
		state = letters
	}
	return t.tx.Exec("UPDATE bus_deliveries SET state = ?, holder = ? WHERE (seq, sub) IN (SELECT seq, sub FROM "+
		table(t.tx, "seq", "sub")+")", state, t.holder, values(ids)).Error
}

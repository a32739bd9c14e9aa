package embedded

import (
	"strings"

	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/backend"
)

// The states of a delivery.
const (
	ready   = 0 // for whoever has room, once it is due
	behind  = 1 // another of its key, on an ordered subscription
	held    = 2 // by a daemon
	dead    = 3 // until its letter is kept
	letters = 4 // dead, and held by a daemon that keeps its letter
)

// The kinds of subscriptions.
const (
	wanted  = 0 // a module's
	tailing = 1 // somebody's who looks; it goes with the daemon
	removed = 2 // a module's that is no more; its name is needed for its letters
)

// Times are microseconds since 1970. A delivery that is due at 0 has waited for nothing. Keys are those of ordered subscriptions
// only. seq is the order in which events were published.
const tables = `
CREATE TABLE bus_subscriptions (
	id      SERIAL,
	kind    bigint NOT NULL,
	name    text   NOT NULL,
	module  text   NOT NULL,
	pattern text   NOT NULL,
	ordered bigint NOT NULL,
	owner   bigint NOT NULL
) STRICT;
CREATE TABLE bus_holders (
	id         SERIAL,
	daemon     text   NOT NULL,
	expires_at bigint NOT NULL
) STRICT;
CREATE TABLE bus_events (
	seq          bigint PRIMARY KEY,
	published_at bigint NOT NULL,
	attributes   text   NOT NULL,
	data         bytea  NOT NULL
) STRICT;
CREATE TABLE bus_deliveries (
	seq      bigint NOT NULL,
	sub      bigint NOT NULL,
	key      TEXT_C NOT NULL,
	state    bigint NOT NULL,
	due      bigint NOT NULL,
	holder   bigint NOT NULL,
	attempts bigint NOT NULL,
	cuts     bigint NOT NULL,
	reason   text   NOT NULL,
	error    text   NOT NULL,
	died_at  bigint NOT NULL,
	PRIMARY KEY (seq, sub)
) STRICT_ROWS;
CREATE INDEX idx_bus_deliveries_state ON bus_deliveries (state, sub, due, seq);
CREATE INDEX idx_bus_deliveries_key ON bus_deliveries (sub, key, seq) WHERE key <> ''`

var (
	onServer = strings.NewReplacer(" STRICT_ROWS", "", " STRICT", "", "SERIAL", "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
		"TEXT_C", `text COLLATE "C"`)
	inFile = strings.NewReplacer("STRICT_ROWS", "STRICT, WITHOUT ROWID", "SERIAL", "INTEGER PRIMARY KEY AUTOINCREMENT",
		"TEXT_C", "TEXT", "bigint", "INTEGER", "bytea", "BLOB")
)

func steps() []storage.CoreStep {
	return []storage.CoreStep{{ID: "0001_deliveries", Up: create}}
}

func create(tx *gorm.DB) error {
	statements := inFile.Replace(tables) + `;
		CREATE TABLE bus_seq (id INTEGER PRIMARY KEY, next INTEGER NOT NULL) STRICT;
		INSERT INTO bus_seq (id, next) VALUES (1, 0)`
	if tx.Name() == backend.PostgreSQL {
		statements = onServer.Replace(tables) + `;
			CREATE SEQUENCE bus_seq INCREMENT BY 256;
			ALTER TABLE bus_deliveries SET (autovacuum_vacuum_scale_factor = 0.02);
			ALTER TABLE bus_events SET (autovacuum_vacuum_scale_factor = 0.02)`
	}
	for statement := range strings.SplitSeq(statements, ";") {
		if err := tx.Exec(statement).Error; err != nil {
			return err
		}
	}
	return nil
}

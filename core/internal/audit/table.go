package audit

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/link"
)

// Hash is a SHA-256.
type Hash [32]byte

// String is the hash in hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err != nil || len(raw) != len(h) {
		return fmt.Errorf("%.80q is not a hash (fix: give its 64 hex digits)", text)
	}
	copy(h[:], raw)
	return nil
}

// Row is an entry as it is kept.
type Row struct {
	Seq       int64           `json:"seq"` // from 1, without gaps
	At        time.Time       `json:"at"`  // UTC, in whole microseconds
	Actor     link.Principal  `json:"actor"`
	Via       string          `json:"via,omitempty"`
	Action    string          `json:"action"`
	Resource  string          `json:"resource,omitempty"`
	Outcome   Outcome         `json:"outcome"`
	RequestID string          `json:"request_id,omitempty"`
	TraceID   string          `json:"trace_id,omitempty"`
	Address   string          `json:"address,omitempty"`
	Details   json.RawMessage `json:"details"`
	// Cleaned names the fields that could not be kept as they were given.
	Cleaned  []string `json:"cleaned,omitempty"`
	Version  int      `json:"version"` // of the encoding that was hashed
	PrevHash Hash     `json:"prev_hash"`
	Hash     Hash     `json:"hash"`
}

// row is a Row as it is stored.
type row struct {
	Seq       int64
	At        int64 // microseconds since 1970, UTC
	ActorKind string
	ActorID   string
	ActorName string
	Via       string
	Action    string
	Resource  string
	Outcome   string
	RequestID string
	TraceID   string
	Address   string
	Details   string // not jsonb, which would not give back the bytes that were hashed
	Cleaned   string // names, with commas between them
	Version   int
	PrevHash  []byte
	Hash      []byte
}

// TableName implements gorm's schema.Tabler.
func (row) TableName() string { return "audit_rows" }

func (r *row) public() Row {
	out := Row{
		Seq: r.Seq, At: time.UnixMicro(r.At).UTC(), Actor: link.Principal{Kind: r.ActorKind, ID: r.ActorID, Name: r.ActorName},
		Via: r.Via, Action: r.Action, Resource: r.Resource, Outcome: Outcome(r.Outcome), RequestID: r.RequestID,
		TraceID: r.TraceID, Address: r.Address, Details: json.RawMessage(r.Details), Version: r.Version,
		PrevHash: hashOf(r.PrevHash), Hash: hashOf(r.Hash),
	}
	if !json.Valid(out.Details) { // tampered with: it must not keep others from being shown
		out.Details = encodeJSON(map[string]string{"text": r.Details})
	}
	if r.Cleaned != "" {
		out.Cleaned = strings.Split(r.Cleaned, ",")
	}
	return out
}

// hashOf takes what is stored; what has another length than a hash equals none.
func hashOf(raw []byte) (h Hash) {
	copy(h[:], raw)
	return h
}

// head is the end of the chain: the one row of its table. Whoever has locked it may append.
type head struct {
	ID   int // 1
	Seq  int64
	Hash []byte
}

// TableName implements gorm's schema.Tabler.
func (head) TableName() string { return "audit_head" }

// anchor is what is left of the rows that retention removed: the chain goes on after its hash. Anchors are a chain of their own.
type anchor struct {
	N    int64 // from 1, without gaps
	Seq  int64 // of the last row that was removed
	Hash []byte
	At   int64  // microseconds since 1970, UTC
	Link []byte // see anchor.link
}

// TableName implements gorm's schema.Tabler.
func (anchor) TableName() string { return "audit_anchors" }

func steps() []storage.CoreStep {
	return []storage.CoreStep{{ID: "0001_rows", Up: createRows}}
}

func createRows(tx *gorm.DB) error {
	type auditRow struct {
		Seq       int64  `gorm:"primaryKey;autoIncrement:false"`
		At        int64  `gorm:"not null;index:idx_audit_rows_at"`
		ActorKind string `gorm:"type:text;not null"`
		ActorID   string `gorm:"type:text;not null;index:idx_audit_rows_actor"`
		ActorName string `gorm:"type:text;not null;index:idx_audit_rows_name"`
		Via       string `gorm:"type:text;not null"`
		Action    string `gorm:"type:text;not null;index:idx_audit_rows_action"`
		Resource  string `gorm:"type:text;not null;index:idx_audit_rows_resource"`
		Outcome   string `gorm:"type:text;not null"`
		RequestID string `gorm:"type:text;not null;index:idx_audit_rows_request"`
		TraceID   string `gorm:"type:text;not null"`
		Address   string `gorm:"type:text;not null"`
		Details   string `gorm:"type:text;not null"`
		Cleaned   string `gorm:"type:text;not null"`
		Version   int    `gorm:"not null"`
		PrevHash  []byte `gorm:"not null"`
		Hash      []byte `gorm:"not null"`
	}
	type auditHead struct {
		ID   int    `gorm:"primaryKey;autoIncrement:false"`
		Seq  int64  `gorm:"not null"`
		Hash []byte `gorm:"not null"`
	}
	type auditAnchor struct {
		N    int64  `gorm:"primaryKey;autoIncrement:false"`
		Seq  int64  `gorm:"not null"`
		Hash []byte `gorm:"not null"`
		At   int64  `gorm:"not null"`
		Link []byte `gorm:"not null"`
	}
	if tx.Name() == backend.SQLite { // else a number's place could hold a text
		tx = tx.Set("gorm:table_options", " STRICT")
	}
	tables := map[string]any{"audit_rows": &auditRow{}, "audit_head": &auditHead{}, "audit_anchors": &auditAnchor{}}
	for table, model := range tables {
		if err := tx.Table(table).Migrator().CreateTable(model); err != nil {
			return err
		}
	}
	if tx.Name() == backend.PostgreSQL { // byte order, so that an index finds what begins with a word
		if err := tx.Exec(`ALTER TABLE audit_rows ALTER COLUMN action TYPE text COLLATE "C"`).Error; err != nil {
			return err
		}
	}
	return tx.Table("audit_head").Create(&auditHead{ID: 1, Hash: make([]byte, len(Hash{}))}).Error
}

package auth

import (
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/link"
)

const (
	table         = "auth_tokens"
	keysTable     = "auth_keys"
	sessionsTable = "auth_sessions"
)

// row is a token as it is stored.
type row struct {
	ID          string
	UserID      *string // nil: a service's
	Hash        []byte
	Name        string
	Permissions []string `gorm:"serializer:json"`
	CreatedAt   time.Time
	ExpiresAt   time.Time
	LastUsedAt  *time.Time
	RevokedAt   *time.Time
}

// TableName implements gorm's schema.Tabler.
func (row) TableName() string { return table }

func (r *row) token() Token {
	t := Token{
		ID: r.ID, Name: r.Name, Permissions: r.bounds(), CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt,
		LastUsedAt: r.LastUsedAt, RevokedAt: r.RevokedAt,
	}
	if r.UserID != nil {
		t.Owner = *r.UserID
	}
	return t
}

// bounds is never nil, whatever the column holds: that would be all that the owner may.
func (r *row) bounds() []string {
	if r.Permissions == nil {
		return []string{}
	}
	return r.Permissions
}

func (r *row) identity() Identity {
	return Identity{
		Principal:   link.Principal{Kind: link.KindToken, ID: r.ID, Name: r.Name},
		Permissions: r.bounds(),
		Session:     r.ID,
	}
}

// keyRow is a key as it is stored. The private part lies in the core's database as it is: nobody but the core's own role, or
// on SQLite the owner of the core's file, can read that (G13), and those could as well make themselves an administrator.
type keyRow struct {
	ID        string // kid
	Purpose   string
	Algorithm string
	Private   []byte
	CreatedAt time.Time
	SignsAt   time.Time  // signs nothing before
	RetiresAt *time.Time // signs nothing from then on; nil: until it is replaced
	ExpiresAt *time.Time // verifies nothing from then on
}

// TableName implements gorm's schema.Tabler.
func (keyRow) TableName() string { return keysTable }

// sessionRow is a session as it is stored.
type sessionRow struct {
	ID         string
	UserID     string
	Stamp      string
	Family     []byte // hash of what all refresh tokens of the session have in common
	Hash       []byte // hash of the one that is good
	Generation int
	CreatedAt  time.Time
	LastUsedAt time.Time
	ExpiresAt  time.Time
	Address    string
	UserAgent  string
	EndedAt    *time.Time
	EndedWhy   string
}

// TableName implements gorm's schema.Tabler.
func (sessionRow) TableName() string { return sessionsTable }

func steps() []storage.CoreStep {
	return []storage.CoreStep{
		{ID: "0001_tokens", Up: createTokens},
		{ID: "0002_owners", Up: addOwners},
		{ID: "0003_keys", Up: createKeys},
		{ID: "0004_sessions", Up: createSessions},
	}
}

func createTokens(tx *gorm.DB) error {
	type token struct {
		ID          string    `gorm:"primaryKey;size:32"`
		Hash        []byte    `gorm:"not null;uniqueIndex:idx_auth_tokens_hash"`
		Name        string    `gorm:"not null"`
		Permissions string    `gorm:"type:text;not null"` // a JSON array
		CreatedAt   time.Time `gorm:"not null"`
		ExpiresAt   time.Time `gorm:"not null"`
		RevokedAt   *time.Time
	}
	return tx.Table(table).Migrator().CreateTable(&token{})
}

func addOwners(tx *gorm.DB) error {
	type token struct {
		UserID     *string `gorm:"size:64;index:idx_auth_tokens_user_id"`
		LastUsedAt *time.Time
	}
	migrator := tx.Table(table).Migrator()
	for _, field := range []string{"UserID", "LastUsedAt"} {
		if err := migrator.AddColumn(&token{}, field); err != nil {
			return err
		}
	}
	return migrator.CreateIndex(&token{}, "idx_auth_tokens_user_id")
}

func createKeys(tx *gorm.DB) error {
	type key struct {
		ID        string    `gorm:"primaryKey;size:32"`
		Purpose   string    `gorm:"size:16;not null"`
		Algorithm string    `gorm:"size:16;not null"`
		Private   []byte    `gorm:"not null"`
		CreatedAt time.Time `gorm:"not null"`
		SignsAt   time.Time `gorm:"not null"`
		RetiresAt *time.Time
		ExpiresAt *time.Time
	}
	return tx.Table(keysTable).Migrator().CreateTable(&key{})
}

func createSessions(tx *gorm.DB) error {
	type session struct {
		ID         string    `gorm:"primaryKey;size:32"`
		UserID     string    `gorm:"size:64;not null;index:idx_auth_sessions_user_id"`
		Stamp      string    `gorm:"size:64;not null"`
		Family     []byte    `gorm:"not null;uniqueIndex:idx_auth_sessions_family"`
		Hash       []byte    `gorm:"not null"`
		Generation int       `gorm:"not null"`
		CreatedAt  time.Time `gorm:"not null"`
		LastUsedAt time.Time `gorm:"not null"`
		ExpiresAt  time.Time `gorm:"not null"`
		Address    string    `gorm:"size:64;not null"`
		UserAgent  string    `gorm:"size:800;not null"`
		EndedAt    *time.Time
		EndedWhy   string `gorm:"size:100;not null"`
	}
	return tx.Table(sessionsTable).Migrator().CreateTable(&session{})
}

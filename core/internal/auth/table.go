package auth

import (
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/link"
)

const table = "auth_tokens"

// row is a token as it is stored.
type row struct {
	ID          string
	Hash        []byte
	Name        string
	Permissions []string `gorm:"serializer:json"`
	CreatedAt   time.Time
	ExpiresAt   time.Time
	RevokedAt   *time.Time
}

// TableName implements gorm's schema.Tabler.
func (row) TableName() string { return table }

func (r *row) token() Token {
	return Token{
		ID: r.ID, Name: r.Name, Permissions: r.Permissions, CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, RevokedAt: r.RevokedAt,
	}
}

func (r *row) identity() Identity {
	return Identity{
		Principal:   link.Principal{Kind: link.KindToken, ID: r.ID, Name: r.Name},
		Permissions: r.Permissions,
	}
}

func steps() []storage.CoreStep {
	return []storage.CoreStep{{ID: "0001_tokens", Up: createTokens}}
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

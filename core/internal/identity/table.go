package identity

import (
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/backend"
)

const (
	usersTable   = "identity_users"
	linksTable   = "identity_links"
	onetimeTable = "identity_onetime"
)

// row is a user as it is stored.
type row struct {
	ID    string `gorm:"primaryKey"`
	Email string
	Name  string
	// NameKey is the name in lower case, to search for. The databases' own lower() differ: SQLite's knows ASCII alone.
	NameKey           string
	PasswordHash      string // in the PHC string format; empty: none
	Disabled          bool
	CreatedAt         time.Time `gorm:"autoCreateTime:false"`
	UpdatedAt         time.Time `gorm:"autoUpdateTime:false"`
	PasswordChangedAt *time.Time
}

// TableName implements gorm's schema.Tabler.
func (row) TableName() string { return usersTable }

func (r *row) user() User {
	return User{
		ID: r.ID, Email: r.Email, Name: r.Name, Disabled: r.Disabled, HasPassword: r.PasswordHash != "",
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, PasswordChangedAt: r.PasswordChangedAt,
	}
}

// link is an account elsewhere that is a user's.
type link struct {
	Issuer    string `gorm:"primaryKey"`
	Subject   string `gorm:"primaryKey"`
	UserID    string
	CreatedAt time.Time `gorm:"autoCreateTime:false"`
}

// TableName implements gorm's schema.Tabler.
func (link) TableName() string { return linksTable }

// onetime is a one-use link.
type onetime struct {
	ID        string `gorm:"primaryKey"`
	Hash      []byte
	Purpose   Purpose
	UserID    *string   // nil: the user is yet to be made
	CreatedAt time.Time `gorm:"autoCreateTime:false"`
	ExpiresAt time.Time
	UsedAt    *time.Time
}

// TableName implements gorm's schema.Tabler.
func (onetime) TableName() string { return onetimeTable }

// take returns the user that the condition names, or ErrNotFound.
func take(db *gorm.DB, condition string, args ...any) (row, error) {
	var r row
	err := db.Where(condition, args...).Take(&r).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return r, ErrNotFound
	}
	return r, err
}

// forUpdate keeps what a query finds from changing until the transaction ends. On SQLite the transaction alone does.
//
// Users are locked before anything that belongs to them is touched, and nothing else is: two transactions never wait for each
// other.
func forUpdate(tx *gorm.DB) *gorm.DB { return tx.Clauses(clause.Locking{Strength: "UPDATE"}) }

// lockUsers lets nobody else make or change a user until the transaction ends. On SQLite the transaction alone does.
func lockUsers(tx *gorm.DB) error {
	if tx.Name() != backend.PostgreSQL {
		return nil
	}
	return tx.Exec("LOCK TABLE " + usersTable + " IN SHARE ROW EXCLUSIVE MODE").Error
}

func steps() []storage.CoreStep {
	return []storage.CoreStep{{ID: "0001_users", Up: func(tx *gorm.DB) error {
		return tx.Migrator().CreateTable(&user1{}, &link1{}, &onetime1{})
	}}}
}

// user1, link1 and onetime1 are the tables as step 0001 made them: they never change.
type user1 struct {
	ID                string    `gorm:"primaryKey;size:36"`
	Email             string    `gorm:"size:254;not null;uniqueIndex:idx_identity_users_email"`
	Name              string    `gorm:"not null"`
	NameKey           string    `gorm:"not null"`
	PasswordHash      string    `gorm:"not null"`
	Disabled          bool      `gorm:"not null"`
	CreatedAt         time.Time `gorm:"not null"`
	UpdatedAt         time.Time `gorm:"not null"`
	PasswordChangedAt *time.Time
}

// TableName implements gorm's schema.Tabler.
func (user1) TableName() string { return usersTable }

// link1: a user has one account with an issuer. Else whoever gets the address of one who left would get that one's account too.
type link1 struct {
	Issuer    string    `gorm:"primaryKey;size:255;uniqueIndex:idx_identity_links_user,priority:2"`
	Subject   string    `gorm:"primaryKey;size:255"`
	UserID    string    `gorm:"size:36;not null;uniqueIndex:idx_identity_links_user,priority:1"`
	User      user1     `gorm:"foreignKey:UserID;constraint:OnDelete:CASCADE"`
	CreatedAt time.Time `gorm:"not null"`
}

// TableName implements gorm's schema.Tabler.
func (link1) TableName() string { return linksTable }

type onetime1 struct {
	ID        string    `gorm:"primaryKey;size:36"`
	Hash      []byte    `gorm:"not null;uniqueIndex:idx_identity_onetime_hash"`
	Purpose   string    `gorm:"size:16;not null"`
	UserID    *string   `gorm:"size:36;index:idx_identity_onetime_user"`
	User      *user1    `gorm:"foreignKey:UserID;constraint:OnDelete:CASCADE"`
	CreatedAt time.Time `gorm:"not null"`
	ExpiresAt time.Time `gorm:"not null"`
	UsedAt    *time.Time
}

// TableName implements gorm's schema.Tabler.
func (onetime1) TableName() string { return onetimeTable }

package authz

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/backend"
)

// roleRow is a role as it is stored. Roles that are only in manifests have no row until somebody assigns or changes them.
type roleRow struct {
	Name        string `gorm:"primaryKey"`
	Description string
	CreatedAt   time.Time
}

// TableName implements gorm's schema.Tabler.
func (roleRow) TableName() string { return "authz_roles" }

// patternRow is what a role was given, or, if it is not granted, which defaults of manifests were taken from it.
type patternRow struct {
	Role      string `gorm:"primaryKey"`
	Pattern   string `gorm:"primaryKey"`
	Granted   bool
	CreatedAt time.Time
}

// TableName implements gorm's schema.Tabler.
func (patternRow) TableName() string { return "authz_role_patterns" }

// groupRow is a group.
type groupRow struct {
	Name        string `gorm:"primaryKey"`
	Description string
	CreatedAt   time.Time
}

// TableName implements gorm's schema.Tabler.
func (groupRow) TableName() string { return "authz_groups" }

// memberRow is a user in a group.
type memberRow struct {
	GroupName string `gorm:"primaryKey"`
	UserID    string `gorm:"primaryKey"`
	CreatedAt time.Time
}

// TableName implements gorm's schema.Tabler.
func (memberRow) TableName() string { return "authz_members" }

// assignmentRow says who has a role, and who said so.
type assignmentRow struct {
	Role      string `gorm:"primaryKey"`
	Kind      string `gorm:"primaryKey"`
	Subject   string `gorm:"primaryKey"`
	Source    string `gorm:"primaryKey"`
	CreatedAt time.Time
}

// TableName implements gorm's schema.Tabler.
func (assignmentRow) TableName() string { return "authz_assignments" }

// version tells a state of the tables from every other. The stamp is random: after a failover that lost a change, another one
// may have the same number.
type version struct {
	Number int64
	Stamp  string
}

// bump makes a new version. Its row is the lock that lets one change at a time happen, whatever the replica: what a change
// finds after bump still holds when it commits.
func bump(tx *gorm.DB) error {
	done := tx.Exec("UPDATE authz_version SET number = number + 1, stamp = ? WHERE id = 1", rand.Text())
	if done.Error == nil && done.RowsAffected != 1 {
		return errNoVersion
	}
	return done.Error
}

// errNoVersion means that somebody has tampered with the table.
var errNoVersion = errors.New("the row of authz_version is missing (fix: restore the core's database from a backup)")

func readVersion(db *gorm.DB) (v version, err error) {
	found := db.Raw("SELECT number, stamp FROM authz_version WHERE id = 1").Scan(&v)
	if found.Error == nil && found.RowsAffected != 1 {
		return version{}, errNoVersion
	}
	return v, found.Error
}

// tables is what the index needs of one state of the database.
type tables struct {
	version     version
	roles       []roleRow
	patterns    []patternRow
	groups      []groupRow
	members     []memberRow
	assignments []assignmentRow // without their times and sources
}

// load reads all tables as they are at one moment.
func load(ctx context.Context, db *gorm.DB) (*tables, error) {
	t := new(tables)
	options := &sql.TxOptions{ReadOnly: true}
	if db.Name() == backend.PostgreSQL { // a read-only transaction of SQLite is a snapshot anyway
		options.Isolation = sql.LevelRepeatableRead
	}
	err := db.WithContext(ctx).Transaction(func(tx *gorm.DB) (err error) {
		if t.version, err = readVersion(tx); err != nil {
			return err
		}
		return errors.Join(tx.Find(&t.roles).Error, tx.Find(&t.patterns).Error, tx.Find(&t.groups).Error,
			t.loadMembers(tx), t.loadAssignments(tx))
	}, options)
	return t, err
}

// loadMembers and loadAssignments read without reflection, as these are the tables that grow.
func (t *tables) loadMembers(tx *gorm.DB) error {
	return scan(tx, "SELECT group_name, user_id FROM authz_members", func(rows *sql.Rows) error {
		var m memberRow
		err := rows.Scan(&m.GroupName, &m.UserID)
		t.members = append(t.members, m)
		return err
	})
}

func (t *tables) loadAssignments(tx *gorm.DB) error {
	return scan(tx, "SELECT role, kind, subject FROM authz_assignments", func(rows *sql.Rows) error {
		var a assignmentRow
		err := rows.Scan(&a.Role, &a.Kind, &a.Subject)
		t.assignments = append(t.assignments, a)
		return err
	})
}

func scan(tx *gorm.DB, query string, each func(*sql.Rows) error) (err error) {
	rows, err := tx.Raw(query).Rows()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func steps() []storage.CoreStep {
	return []storage.CoreStep{{ID: "0001_access", Up: createTables}}
}

func createTables(tx *gorm.DB) error {
	type authzRole struct {
		Name        string    `gorm:"primaryKey;size:63"`
		Description string    `gorm:"not null"`
		CreatedAt   time.Time `gorm:"not null"`
	}
	type authzRolePattern struct {
		Role      string    `gorm:"primaryKey;size:63"`
		Pattern   string    `gorm:"primaryKey;size:200"`
		Granted   bool      `gorm:"not null"`
		CreatedAt time.Time `gorm:"not null"`
	}
	type authzGroup struct {
		Name        string    `gorm:"primaryKey;size:63"`
		Description string    `gorm:"not null"`
		CreatedAt   time.Time `gorm:"not null"`
	}
	type authzMember struct {
		GroupName string    `gorm:"primaryKey;size:63"`
		UserID    string    `gorm:"primaryKey;size:200;index:idx_authz_members_user"`
		CreatedAt time.Time `gorm:"not null"`
	}
	type authzAssignment struct {
		Role      string    `gorm:"primaryKey;size:63"`
		Kind      string    `gorm:"primaryKey;size:10;index:idx_authz_assignments_subject,priority:1"`
		Subject   string    `gorm:"primaryKey;size:200;index:idx_authz_assignments_subject,priority:2"`
		Source    string    `gorm:"primaryKey;size:200"`
		CreatedAt time.Time `gorm:"not null"`
	}
	type authzVersion struct {
		ID     int    `gorm:"primaryKey;autoIncrement:false"`
		Number int64  `gorm:"not null"`
		Stamp  string `gorm:"not null"`
	}
	for table, model := range map[string]any{
		"authz_roles": &authzRole{}, "authz_role_patterns": &authzRolePattern{}, "authz_groups": &authzGroup{},
		"authz_members": &authzMember{}, "authz_assignments": &authzAssignment{}, "authz_version": &authzVersion{},
	} {
		if err := tx.Table(table).Migrator().CreateTable(model); err != nil {
			return err
		}
	}
	return errors.Join(
		tx.Table("authz_version").Create(&authzVersion{ID: 1, Number: 1, Stamp: rand.Text()}).Error,
		tx.Table("authz_roles").Create(&authzRole{Name: "admin", Description: "May do everything", CreatedAt: tx.NowFunc()}).Error,
	)
}

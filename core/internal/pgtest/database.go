package pgtest

import (
	"context"
	"testing"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// Rights are what the role that a database is made for may do.
type Rights string

// The kinds of roles that an operator may give platformd.
const (
	// SuperuserRights are those of a superuser.
	SuperuserRights Rights = "SUPERUSER"
	// CreateRole owns the database and may make roles.
	CreateRole Rights = "CREATEROLE"
	// Plain owns the database and may make no roles.
	Plain Rights = "NOCREATEROLE"
)

// Admin connects to the database postgres as the superuser, for the length of the test.
func (c *Cluster) Admin(t testing.TB) *gorm.DB {
	t.Helper()
	c.Require(t)
	return open(t, c.URL("postgres", "", ""), 1)
}

// Database makes an empty database and the role that owns it, and returns the role's URL. Both go at the end of the test, with
// every session that is left.
func (c *Cluster) Database(t testing.TB, rights Rights) string {
	t.Helper()
	admin := c.Admin(t)
	name, password := "test_"+secret(), secret()
	role, database := quoted("core_"+name), quoted(name)
	exec := func(db *gorm.DB, statement string) {
		if err := db.Exec(statement).Error; err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	exec(admin, "CREATE ROLE "+role+" LOGIN "+string(rights)+" PASSWORD '"+password+"'")
	exec(admin, "CREATE DATABASE "+database+" OWNER "+role)
	t.Cleanup(func() {
		admin := c.Admin(t) // anew: the server may have been down and up again
		exec(admin, "DROP DATABASE IF EXISTS "+database+" WITH (FORCE)")
		for _, left := range c.made(t, "core_"+name) {
			exec(admin, "DROP ROLE IF EXISTS "+quoted(left))
		}
		exec(admin, "DROP ROLE IF EXISTS "+role)
	})
	return c.URL(name, "core_"+name, password)
}

// made are the roles that the platform made with role, which is a member of each.
func (c *Cluster) made(t testing.TB, role string) (names []string) {
	t.Helper()
	err := c.Admin(t).Raw("SELECT DISTINCT made.rolname FROM pg_auth_members "+
		"JOIN pg_roles made ON made.oid = roleid JOIN pg_roles core ON core.oid = member WHERE core.rolname = ?", role).
		Scan(&names).Error
	if err != nil {
		t.Error(err)
	}
	return names
}

// Open connects to url for the length of the test.
func Open(t testing.TB, url string) *gorm.DB {
	t.Helper()
	return open(t, url, 2)
}

// open is for cleanups too, when the test's own context has ended.
func open(t testing.TB, url string, conns int) *gorm.DB {
	t.Helper()
	db, err := postgres.Open(context.WithoutCancel(t.Context()), url, postgres.Options{MaxConns: conns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := postgres.Close(db); err != nil {
			t.Error(err)
		}
	})
	return db
}

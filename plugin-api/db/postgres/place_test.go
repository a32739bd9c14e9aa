package postgres_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// provisioned is a new database with a place in it, and its roles.
func provisioned(t *testing.T) (source string, place postgres.Place, owner, rw *url.Userinfo) {
	t.Helper()
	owner, rw = login(t, ""), login(t, "")
	place = postgres.Place{Schema: "blog", Owner: owner.Username(), ReadWrite: rw.Username()}
	source = dbtest.Empty(t)
	require.NoError(t, postgres.Provision(open(t, source, postgres.Options{}), place))
	return source, place, owner, rw
}

// as opens the database as somebody, in the module's schema.
func as(t *testing.T, source string, who *url.Userinfo) *gorm.DB {
	t.Helper()
	return open(t, with(t, source, func(u *url.URL, _ url.Values) { u.User = who }),
		postgres.Options{Settings: map[string]string{"search_path": "blog"}})
}

// catalog is all that Provision writes, with the transaction that wrote it.
func catalog(t *testing.T, db *gorm.DB) (rows []string) {
	t.Helper()
	require.NoError(t, db.Raw(`
		SELECT format('%s %s %s %s', nspname, nspacl, xmin, ctid) FROM pg_namespace WHERE nspname IN ('blog', 'platformd_ledgers')
		UNION ALL SELECT format('%s %s %s', oid::regclass, relacl, xmin) FROM pg_class
		WHERE relnamespace = 'platformd_ledgers'::regnamespace
		UNION ALL SELECT format('%s %s %s', defaclobjtype, defaclacl, defaclrole::regrole) FROM pg_default_acl
		ORDER BY 1`).Scan(&rows).Error)
	require.GreaterOrEqual(t, len(rows), 5)
	return rows
}

func TestProvisionTwiceIsOnce(t *testing.T) {
	t.Parallel()
	source, place, owner, rw := provisioned(t)
	db := open(t, source, postgres.Options{})
	require.NoError(t, as(t, source, owner).Exec("CREATE TABLE things (id serial PRIMARY KEY, n integer)").Error)
	require.NoError(t, db.Table(place.Ledger()).Create(&ledger.Row{Position: 1, ID: "a", Statements: []string{}}).Error)
	before := catalog(t, db)
	for range 2 {
		require.NoError(t, postgres.Provision(db, place))
	}
	require.Equal(t, before, catalog(t, db), "nothing was written again")
	rows, err := ledger.Read(db, place.Ledger())
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, ledger.IDs(rows))
	require.NoError(t, as(t, source, rw).Exec("INSERT INTO things (n) VALUES (1)").Error, "its table and its sequence")
}

// What somebody took away comes back: an operator's mistake lasts until the next start.
func TestProvisionGivesWhatIsMissing(t *testing.T) {
	t.Parallel()
	source, place, owner, rw := provisioned(t)
	db := open(t, source, postgres.Options{})
	for _, statement := range []string{
		"REVOKE ALL ON SCHEMA blog, platformd_ledgers FROM " + place.Owner, "REVOKE ALL ON SCHEMA blog FROM " + place.ReadWrite,
		"REVOKE DELETE ON platformd_ledgers.blog FROM " + place.Owner,
		"ALTER DEFAULT PRIVILEGES FOR ROLE " + place.Owner + " IN SCHEMA blog REVOKE ALL ON TABLES FROM " + place.ReadWrite,
		"ALTER DEFAULT PRIVILEGES FOR ROLE " + place.Owner + " IN SCHEMA blog REVOKE ALL ON SEQUENCES FROM " + place.ReadWrite,
	} {
		require.NoError(t, db.Exec(statement).Error, statement)
	}
	require.Error(t, as(t, source, owner).Exec("CREATE TABLE things (id serial PRIMARY KEY, n integer)").Error)
	require.NoError(t, postgres.Provision(db, place))
	require.NoError(t, as(t, source, owner).Exec("CREATE TABLE things (id serial PRIMARY KEY, n integer)").Error)
	require.NoError(t, as(t, source, owner).Exec("DELETE FROM platformd_ledgers.blog").Error)
	require.NoError(t, as(t, source, rw).Exec("INSERT INTO things (n) VALUES (1)").Error)
}

// Two modules share a database and nothing else.
func TestPlacesAreApart(t *testing.T) {
	t.Parallel()
	other := login(t, "") // before the database, which goes first
	source, _, owner, rw := provisioned(t)
	db := open(t, source, postgres.Options{})
	require.NoError(t, postgres.Provision(db, postgres.Place{Schema: "billing", Owner: other.Username(), ReadWrite: rw.Username()}))
	require.NoError(t, as(t, source, other).Exec("CREATE TABLE billing.plans (n integer)").Error)
	for _, statement := range []string{
		"SELECT * FROM billing.plans", "CREATE TABLE billing.mine (n integer)", "SELECT * FROM platformd_ledgers.billing",
		"DELETE FROM platformd_ledgers.billing",
	} {
		require.ErrorIs(t, as(t, source, owner).Exec(statement).Error, postgres.ErrDenied, statement)
	}
}

func TestProvisionWithoutRoles(t *testing.T) {
	t.Parallel()
	source := dbtest.Empty(t)
	db := open(t, source, postgres.Options{})
	for range 2 {
		require.NoError(t, postgres.Provision(db, postgres.Place{Schema: "blog"}))
	}
	rows, err := ledger.Read(db, "platformd_ledgers.blog")
	require.NoError(t, err)
	require.Empty(t, rows)
	require.ErrorIs(t, as(t, source, login(t, "")).Exec("CREATE TABLE blog.mine (n integer)").Error, postgres.ErrDenied)
}

// A module's name may be a word of SQL, or hold what SQL takes for an operator; a text anything but a zero byte.
func TestNamesAreQuoted(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Empty(t), postgres.Options{})
	for _, name := range []string{"select", "a-b", "user"} {
		require.NoError(t, postgres.Provision(db, postgres.Place{Schema: name}), name)
		require.NoError(t, db.Exec("CREATE TABLE "+postgres.Quote(name)+".t (n integer)").Error, name)
	}
	for _, text := range []string{`a"b`, `a'b`, `a\b`, `ä b`, `a';SELECT 1--`, `a";SELECT 1--`, "?", "@a"} {
		var label, value string
		row := db.Raw("SELECT " + postgres.Literal(text) + " AS " + postgres.Quote(text)).Row()
		require.NoError(t, row.Scan(&value), text)
		require.Equal(t, text, value)
		require.NoError(t, db.Raw("SELECT min(key) FROM json_object_keys(row_to_json((SELECT r FROM (SELECT 1 AS "+postgres.Quote(text)+
			") r))) key").Row().Scan(&label), text)
		require.Equal(t, text, label)
	}
}

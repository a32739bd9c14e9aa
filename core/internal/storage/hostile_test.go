package storage_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/core/internal/storage/storagetest"
	"github.com/platformd/platformd/plugin-api/db/ledger"
)

// The codes with which a server refuses.
const (
	denied     = "42501" // insufficient_privilege
	undefined  = "42P01" // undefined_table: it is not on the search path, and cannot be put there
	noFunction = "42883"

	// harmless is for what the server answers with a warning: it passes, and must change nothing.
	harmless = "passes"
)

// probe is what a hostile module tries. The statements before the last, between which is ";;", must work.
type probe struct {
	name string
	sql  string
	code string // of the last one's refusal; empty: denied
	by   string // rw, owner, or empty: each of both
	// superuser tells that only a superuser can refuse it to modules; else the core says that it could not.
	superuser bool
}

// probes are what each module's login is refused. {login} is the module's own role, {group} that of its rights, {other} a
// login of another module, {otherrw} and {otherowner} the groups of that one, {modules} the group of all, {core} the core's role,
// {db} the database, {pid} a session of the other module.
func probes() []probe {
	return slices.Concat(rowProbes(), shapeProbes(), coreProbes(), ledgerProbes(), ownProbes(), commonProbes(), objectProbes(),
		membershipProbes(), roleProbes(), serverProbes())
}

// rowProbes aim at the data of another module.
func rowProbes() []probe {
	return []probe{
		{name: "read another module's rows", sql: "SELECT * FROM billing.billing_invoices"},
		{name: "write another module's rows", sql: "INSERT INTO billing.billing_invoices VALUES (7)"},
		{name: "change another module's rows", sql: "UPDATE billing.billing_invoices SET n = 7"},
		{name: "delete another module's rows", sql: "DELETE FROM billing.billing_invoices"},
		{name: "truncate another module's table", sql: "TRUNCATE billing.billing_invoices"},
		{name: "drop another module's table", sql: "DROP TABLE billing.billing_invoices"},
		{name: "alter another module's table", sql: "ALTER TABLE billing.billing_invoices ADD COLUMN mine text"},
		{name: "lock another module's table", sql: "BEGIN ;; LOCK TABLE billing.billing_invoices IN ACCESS SHARE MODE"},
		{name: "index another module's table", sql: "CREATE INDEX ON billing.billing_invoices (n)"},
	}
}

// shapeProbes aim at the shape of another module's data.
func shapeProbes() []probe {
	return []probe{
		{name: "trigger on another module's table", by: "owner", sql: "CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS " +
			"'BEGIN RETURN NEW; END' ;; CREATE TRIGGER spy AFTER INSERT ON billing.billing_invoices EXECUTE FUNCTION spy()"},
		{name: "rule on another module's table", sql: "CREATE RULE r AS ON INSERT TO billing.billing_invoices DO INSTEAD NOTHING"},
		{name: "comment on another module's table", sql: "COMMENT ON TABLE billing.billing_invoices IS 'mine'"},
		{name: "use another module's sequence", sql: "SELECT nextval('billing.billing_ids')"},
		{name: "set another module's sequence", sql: "SELECT setval('billing.billing_ids', 1)"},
		{name: "call another module's function", sql: "SELECT billing.secret()"},
		{name: "replace another module's function", sql: "CREATE OR REPLACE FUNCTION billing.secret() " +
			"RETURNS int LANGUAGE sql AS 'SELECT 1'"},
		{name: "make something in another module's schema", sql: "CREATE TABLE billing.mine (n integer)"},
		{name: "move a table into another module's schema", by: "owner", sql: "CREATE TABLE move_me (n integer) ;; " +
			"ALTER TABLE move_me SET SCHEMA billing"},
		{name: "view of another module's table", by: "owner", sql: "CREATE VIEW peek AS SELECT * FROM billing.billing_invoices"},
		{name: "inherit from another module's table", by: "owner", sql: "CREATE TABLE heir () INHERITS (billing.billing_invoices)"},
		{name: "refer to another module's table", by: "owner", sql: "CREATE TABLE refer " +
			"(n integer REFERENCES billing.billing_invoices)"},
		{name: "copy another module's table", sql: "COPY billing.billing_invoices TO STDOUT"},
		{name: "search path to another module", code: undefined, sql: "SET search_path = billing ;; SELECT * FROM billing_invoices"},
		{name: "statistics of another module's columns", code: undefined, sql: "SELECT * FROM billing_invoices"},
		{name: "analyze another module's table", sql: "ANALYZE billing.billing_invoices"},
		{name: "drop another module's schema", sql: "DROP SCHEMA billing CASCADE"},
	}
}

// coreProbes aim at the core's tables.
func coreProbes() []probe {
	return []probe{
		{name: "read the core's logins", sql: "SELECT * FROM platformd.logins"},
		{name: "forge a login", sql: "INSERT INTO platformd.logins VALUES ('a', 'b', 'rw', 'd', now())"},
		{name: "read tokens", sql: "SELECT * FROM platformd.core_tokens"},
		{name: "write tokens", sql: "DELETE FROM platformd.core_tokens"},
		{name: "lock the core's ledger", sql: "BEGIN ;; LOCK TABLE platformd.core_migrations IN ACCESS EXCLUSIVE MODE"},
		{name: "lock the installation", sql: "SELECT * FROM platformd.installation FOR UPDATE"},
		{name: "make something in the core's schema", sql: "CREATE TABLE platformd.mine (n integer)"},
		{name: "drop the core's schema", sql: "DROP SCHEMA platformd CASCADE"},
	}
}

// ledgerProbes aim at the ledgers.
func ledgerProbes() []probe {
	return []probe{
		{name: "read another module's ledger", sql: "SELECT * FROM platformd_ledgers.billing"},
		{name: "write another module's ledger", sql: "DELETE FROM platformd_ledgers.billing"},
		{name: "its own ledger while at work", by: "rw", sql: "DELETE FROM platformd_ledgers.blog"},
		{name: "its own ledger's shape", by: "owner", sql: "ALTER TABLE platformd_ledgers.blog ADD COLUMN mine text"},
		{name: "its own ledger's existence", by: "owner", sql: "DROP TABLE platformd_ledgers.blog"},
		{name: "its own ledger's name", by: "owner", sql: "ALTER TABLE platformd_ledgers.blog RENAME TO other"},
		{name: "its own ledger's owner", by: "owner", sql: "ALTER TABLE platformd_ledgers.blog OWNER TO {group}"},
		{name: "a trigger on its own ledger", by: "owner", sql: "CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS " +
			"'BEGIN RETURN NEW; END' ;; CREATE TRIGGER trap BEFORE INSERT ON platformd_ledgers.blog EXECUTE FUNCTION trap()"},
		{name: "a rule on its own ledger", by: "owner", sql: "CREATE RULE \"_RETURN\" AS ON SELECT TO platformd_ledgers.blog " +
			"DO INSTEAD SELECT 1"},
		{name: "a policy on its own ledger", by: "owner", sql: "CREATE POLICY p ON platformd_ledgers.blog USING (false)"},
		{name: "truncate its own ledger", by: "owner", sql: "TRUNCATE platformd_ledgers.blog"},
		{name: "a view among the ledgers", sql: "CREATE VIEW platformd_ledgers.shop AS SELECT 1"},
	}
}

// ownProbes aim at its own place, beyond its rights.
func ownProbes() []probe {
	return []probe{
		{name: "a table while at work", by: "rw", sql: "CREATE TABLE more (n integer)"},
		{name: "a function while at work", by: "rw", sql: "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"},
		{name: "alter its own table while at work", by: "rw", sql: "ALTER TABLE blog_posts ADD COLUMN mine text"},
		{name: "drop its own table while at work", by: "rw", sql: "DROP TABLE blog_posts"},
		{name: "truncate its own table while at work", by: "rw", sql: "TRUNCATE blog_posts"},
		{name: "a trigger while at work", by: "rw", sql: "CREATE TRIGGER t AFTER INSERT ON blog_posts EXECUTE FUNCTION f()"},
		{name: "as itself instead of its group", by: "rw", sql: "SET ROLE NONE ;; CREATE TABLE more (n integer)"},
		{name: "its settings put back", by: "rw", sql: "RESET ALL ;; RESET ROLE ;; CREATE TABLE more (n integer)"},
		{name: "drop its own schema", sql: "DROP SCHEMA blog CASCADE"},
		{name: "rename its own schema", sql: "ALTER SCHEMA blog RENAME TO other"},
		{name: "take its own schema", sql: "ALTER SCHEMA blog OWNER TO {group}"},
		{name: "open its own schema to all", sql: "GRANT USAGE ON SCHEMA blog TO PUBLIC", code: harmless},
	}
}

// commonProbes aim at what is everybody's.
func commonProbes() []probe {
	return []probe{
		{name: "a table in public", sql: "CREATE TABLE public.mine (n integer)"},
		{name: "a function in public", sql: "CREATE FUNCTION public.now() RETURNS int LANGUAGE sql AS 'SELECT 1'"},
		{name: "a temporary table", sql: "CREATE TEMPORARY TABLE mine (n integer)"},
		{name: "a temporary view", by: "owner", sql: "CREATE TEMPORARY VIEW core_migrations AS SELECT 1"},
		{name: "a temporary schema's function", sql: "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'"},
		{name: "a large object", superuser: true, sql: "SELECT lo_create(0)"},
		{name: "a large object with content", superuser: true, sql: "SELECT lo_from_bytea(0, 'x')"},
		{name: "a large object by the old way", superuser: true, sql: "SELECT lo_creat(-1)"},
		{name: "a large object from a file", sql: "SELECT lo_import('/etc/passwd')"},
		{name: "a large object to a file", sql: "SELECT lo_export(1, '/tmp/platformd-probe')"},
		{name: "large objects as they are stored", sql: "SELECT * FROM pg_largeobject"},
		{name: "a schema", sql: "CREATE SCHEMA mine"},
	}
}

// objectProbes aim at what belongs to no schema.
func objectProbes() []probe {
	return []probe{
		{name: "an extension", sql: "CREATE EXTENSION pg_trgm"},
		{name: "a database", sql: "CREATE DATABASE mine"},
		{name: "a tablespace", sql: "CREATE TABLESPACE mine LOCATION '/tmp'"},
		{name: "a publication of all", sql: "CREATE PUBLICATION mine FOR ALL TABLES"},
		{name: "a replication slot", sql: "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')"},
		{name: "a foreign server", sql: "CREATE FOREIGN DATA WRAPPER mine"},
		{name: "an event trigger", by: "owner", sql: "CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END' ;; " +
			"CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION e()"},
		{name: "a language", sql: "CREATE TRUSTED LANGUAGE plmine HANDLER plpgsql_call_handler"},
		{name: "a cast", by: "owner", sql: "CREATE CAST (text AS integer) WITH INOUT AS IMPLICIT"},
		{name: "an operator class", by: "owner", sql: "CREATE OPERATOR CLASS mine DEFAULT FOR TYPE integer " +
			"USING btree AS STORAGE integer"},
		{name: "a function in C", by: "owner", sql: "CREATE FUNCTION c() RETURNS int LANGUAGE c AS 'libc.so.6', 'system'"},
		{name: "an internal function", by: "owner", sql: "CREATE FUNCTION i() RETURNS int LANGUAGE internal AS 'pg_backend_pid'"},
	}
}

// membershipProbes aim at what other roles may do.
func membershipProbes() []probe {
	return []probe{
		{name: "a role", sql: "CREATE ROLE mine"},
		{name: "become another module", sql: "SET ROLE {otherrw}"},
		{name: "become another module's owner", sql: "SET ROLE {otherowner}"},
		{name: "become another module's process", sql: "SET ROLE {other}"},
		{name: "become its own owner while at work", by: "rw", sql: "SET ROLE {owner}"},
		{name: "become the core", sql: "SET ROLE {core}"},
		{name: "become the superuser", sql: "SET ROLE postgres"},
		{name: "another session's name", sql: "SET SESSION AUTHORIZATION {core}"},
		{name: "join another module", sql: "GRANT {otherrw} TO {login}"},
		{name: "join the core", sql: "GRANT {core} TO {login}"},
		{name: "join those who read files", sql: "GRANT pg_read_server_files TO {login}"},
		{name: "take another module into its own group", sql: "GRANT {group} TO {other}"},
		{name: "take all into its own group", sql: "GRANT {group} TO {modules}"},
	}
}

// roleProbes aim at roles themselves.
func roleProbes() []probe {
	return []probe{
		{name: "be superuser", sql: "SET ROLE NONE ;; ALTER ROLE {login} SUPERUSER"},
		{name: "make roles", sql: "SET ROLE NONE ;; ALTER ROLE {login} CREATEROLE"},
		{name: "pass row security", sql: "SET ROLE NONE ;; ALTER ROLE {login} BYPASSRLS"},
		{name: "be valid for ever", sql: "SET ROLE NONE ;; ALTER ROLE {login} VALID UNTIL 'infinity'"},
		{name: "connect without limit", sql: "SET ROLE NONE ;; ALTER ROLE {login} CONNECTION LIMIT -1"},
		{name: "let its group log in", sql: "ALTER ROLE {group} LOGIN PASSWORD 'x'"},
		{name: "another module's password", sql: "ALTER ROLE {other} PASSWORD 'x'"},
		{name: "another module's search path", sql: "ALTER ROLE {other} SET search_path = blog"},
		{name: "the core's password", sql: "ALTER ROLE {core} PASSWORD 'x'"},
		{name: "the core's search path", sql: "ALTER ROLE {core} SET search_path = blog"},
		{name: "everybody's search path", sql: "ALTER DATABASE {db} SET search_path = blog"},
		{name: "all roles' settings", sql: "ALTER ROLE ALL SET search_path = blog"},
		{name: "drop another module's role", sql: "DROP ROLE {other}"},
		{name: "drop what another module owns", sql: "DROP OWNED BY {otherowner}"},
		{name: "take what another module owns", sql: "REASSIGN OWNED BY {otherowner} TO {group}"},
		{name: "another module's default rights", sql: "ALTER DEFAULT PRIVILEGES FOR ROLE {otherowner} " +
			"GRANT SELECT ON TABLES TO PUBLIC"},
		{name: "the core's default rights", sql: "ALTER DEFAULT PRIVILEGES FOR ROLE {core} GRANT SELECT ON TABLES TO PUBLIC"},
		{name: "the database's owner", sql: "ALTER DATABASE {db} OWNER TO {group}"},
		{name: "the database's name", sql: "ALTER DATABASE {db} RENAME TO mine"},
		{name: "a function for another owner", by: "owner", sql: "CREATE FUNCTION d() RETURNS int SECURITY DEFINER LANGUAGE sql " +
			"AS 'SELECT 1' ;; ALTER FUNCTION d() OWNER TO {core}"},
		{name: "a definer's function that is more than its owner", by: "owner", sql: "CREATE FUNCTION peek() RETURNS bigint " +
			"SECURITY DEFINER LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM billing.billing_invoices); END' ;; SELECT peek()"},
		{name: "a function that sets the role", by: "owner", sql: "CREATE FUNCTION r() RETURNS int LANGUAGE sql " +
			"SET role = '{core}' AS 'SELECT 1'"},
	}
}

// serverProbes aim at the server.
func serverProbes() []probe {
	return []probe{
		{name: "run a program", sql: "COPY (SELECT 1) TO PROGRAM 'id'"},
		{name: "read from a program", by: "owner", sql: "CREATE TABLE got (l text) ;; COPY got FROM PROGRAM 'id'"},
		{name: "write a file", sql: "COPY (SELECT 1) TO '/tmp/platformd-probe'"},
		{name: "read a file into a table", sql: "COPY blog_posts FROM '/etc/passwd'"},
		{name: "read a file", sql: "SELECT pg_read_file('/etc/passwd')"},
		{name: "read a file's bytes", sql: "SELECT pg_read_binary_file('pg_hba.conf')"},
		{name: "list a folder", sql: "SELECT pg_ls_dir('.')"},
		{name: "list logs", sql: "SELECT pg_ls_logdir()"},
		{name: "look at a file", sql: "SELECT pg_stat_file('PG_VERSION')"},
		{name: "read passwords", sql: "SELECT rolpassword FROM pg_authid"},
		{name: "read passwords by another view", sql: "SELECT passwd FROM pg_shadow"},
		{name: "read subscriptions", sql: "SELECT subconninfo FROM pg_subscription"},
		{name: "read who is let in", sql: "SELECT * FROM pg_hba_file_rules"},
		{name: "configure the server", sql: "ALTER SYSTEM SET log_statement = 'none'"},
		{name: "reload the server", sql: "SELECT pg_reload_conf()"},
		{name: "rotate the log", sql: "SELECT pg_rotate_logfile()"},
		{name: "hide in the log", sql: "SET log_statement = 'none'"},
		{name: "load a library", sql: "LOAD 'auto_explain_of_mine'", code: denied},
		{name: "preload a library", sql: "SET session_preload_libraries = 'mine'"},
		{name: "end another module's session", sql: "SELECT pg_terminate_backend({pid})"},
		{name: "cancel another module's query", sql: "SELECT pg_cancel_backend({pid})"},
		{name: "write the catalog", sql: "UPDATE pg_class SET relowner = 10"},
		{name: "allow to write the catalog", sql: "SET allow_system_table_mods = on"},
		{name: "a checkpoint", sql: "CHECKPOINT"},
		{name: "vacuum the catalog", code: harmless, sql: "VACUUM pg_authid"},
		{name: "another database by dblink", code: noFunction, sql: "SELECT * FROM dblink('dbname=postgres', 'SELECT 1') AS t(n int)"},
		{name: "a statement of another session", code: "22012", sql: "SELECT 1/(SELECT count(*) FROM pg_stat_activity " +
			"WHERE pid = {pid} AND query <> '<insufficient privilege>')"},
	}
}

// stage is a database with two modules at work, and a hostile one's way in.
type stage struct {
	storage *storage.Storage
	url     string // of the core
	root    *gorm.DB
	billing *storage.Login
	pid     int // of billing's session
}

func newStage(t *testing.T, rights pgtest.Rights) *stage {
	t.Helper()
	core := cluster.Database(t, rights)
	s := &stage{url: core, storage: storagetest.Open(t, storage.Options{
		DataDir: t.TempDir(), URL: config.SecretURL(core), ModuleMaxConns: 5,
	})}
	require.NoError(t, s.storage.Core().Exec("CREATE TABLE core_tokens (secret text)").Error)
	s.root = pgtest.Open(t, cluster.URL(strings.TrimPrefix(parsed(t, core).Path, "/"), "", ""))
	for _, module := range []string{"billing", "blog"} {
		owner := storagetest.Connect(t, storagetest.Login(t, s.storage, module, storage.Owner))
		for _, statement := range []string{
			"CREATE TABLE MODULE_invoices (n integer)", "CREATE TABLE MODULE_posts (l text)", "CREATE SEQUENCE MODULE_ids",
			"CREATE FUNCTION secret() RETURNS int LANGUAGE sql AS 'SELECT 42'",
			"INSERT INTO MODULE_invoices VALUES (1)", "INSERT INTO platformd_ledgers.MODULE VALUES (1, '0001', now())",
		} {
			statement = strings.ReplaceAll(statement, "MODULE", module)
			if strings.Contains(statement, "_ledgers") {
				statement = "INSERT INTO platformd_ledgers." + module +
					" (position, id, applied_at, duration_ms, statements) VALUES (1, '0001', now(), 1, '[]')"
			}
			require.NoError(t, owner.Exec(statement).Error)
		}
	}
	s.billing = storagetest.Login(t, s.storage, "billing", storage.ReadWrite)
	require.NoError(t, session(t, s.billing).QueryRowContext(t.Context(), "SELECT pg_backend_pid()").Scan(&s.pid))
	return s
}

func parsed(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	require.NoError(t, err)
	return u
}

// fill puts the stage's names into a probe.
func (s *stage) fill(t *testing.T, sql string, login *storage.Login, access storage.Access) string {
	t.Helper()
	core, mine := parsed(t, s.url), parsed(t, login.Database.Source).User.Username()
	prefix := mine[:len("pd_01234567_")]
	return strings.NewReplacer(
		"{login}", mine, "{group}", prefix+"blog_"+access.String(), "{owner}", prefix+"blog_owner", "{core}", core.User.Username(),
		"{other}", parsed(t, s.billing.Database.Source).User.Username(), "{otherrw}", prefix+"billing_rw",
		"{otherowner}", prefix+"billing_owner", "{modules}", prefix+"modules", "{db}", strings.TrimPrefix(core.Path, "/"),
		"{pid}", fmt.Sprint(s.pid),
	).Replace(sql)
}

// fingerprint is all that a module must not change, as the superuser sees it.
func (s *stage) fingerprint(t *testing.T) []string {
	t.Helper()
	var lines []string
	require.NoError(t, s.root.Raw(`
SELECT 'schema ' || n::text FROM pg_namespace n WHERE nspname NOT LIKE 'pg\_%'
UNION ALL SELECT concat_ws(' ', 'relation', oid::regclass, relkind, relowner, relacl, relnatts, relhastriggers, relhasrules,
       relrowsecurity)
  FROM pg_class WHERE relnamespace IN (SELECT oid FROM pg_namespace
       WHERE nspname IN ('platformd', 'platformd_ledgers', 'billing', 'public')) OR oid = 'pg_authid'::regclass
UNION ALL SELECT concat_ws(' ', 'function', oid::regprocedure, proowner, proacl, prosrc) FROM pg_proc
 WHERE pronamespace::regnamespace::text IN ('platformd', 'platformd_ledgers', 'billing', 'public', 'pg_temp')
UNION ALL SELECT 'role ' || r::text FROM pg_authid r WHERE rolname LIKE '%' || (SELECT id FROM platformd.installation) || '%'
       OR rolname LIKE 'core\_%' || current_database() OR rolname = 'postgres'
UNION ALL SELECT 'member ' || concat_ws(' ', roleid::regrole, member::regrole, admin_option) FROM pg_auth_members
 WHERE roleid::regrole::text LIKE 'pd\_' || (SELECT id FROM platformd.installation) || '%'
UNION ALL SELECT 'default ' || a::text FROM pg_default_acl a
UNION ALL SELECT 'setting ' || d::text FROM pg_db_role_setting d
 WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
       AND (setrole = 0 OR setrole::regrole::text LIKE 'pd\_' || (SELECT id FROM platformd.installation) || '%'
       OR setrole = current_user::regrole)
UNION ALL SELECT 'database ' || concat_ws(' ', datname, datdba, datacl) FROM pg_database WHERE datname = current_database()
UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
UNION ALL SELECT 'publication ' || pubname FROM pg_publication
UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
UNION ALL SELECT 'large object ' || oid FROM pg_largeobject_metadata
UNION ALL SELECT 'extension ' || extname FROM pg_extension
UNION ALL SELECT 'cast ' || count(*) FROM pg_cast
UNION ALL SELECT 'row ' || i::text FROM billing.billing_invoices i
UNION ALL SELECT 'row ' || l::text FROM platformd_ledgers.billing l
UNION ALL SELECT 'row ' || l::text FROM platformd_ledgers.blog l
UNION ALL SELECT 'row ' || l::text FROM platformd.logins l
UNION ALL SELECT 'sequence ' || last_value FROM billing.billing_ids
UNION ALL SELECT 'session ' || pid FROM pg_stat_activity WHERE pid = `+fmt.Sprint(s.pid)+`
ORDER BY 1`).Scan(&lines).Error)
	return lines
}

// TestHostileG13: each probe is refused, as the module at work and as its migration, and all of them together change nothing.
func TestHostileG13(t *testing.T) {
	t.Parallel()
	for _, rights := range []pgtest.Rights{pgtest.SuperuserRights, pgtest.CreateRole} {
		t.Run(string(rights), func(t *testing.T) {
			t.Parallel()
			s := newStage(t, rights)
			for _, access := range []storage.Access{storage.ReadWrite, storage.Owner} {
				login := storagetest.Login(t, s.storage, "blog", access)
				before := s.fingerprint(t)
				conn := session(t, login)
				for _, p := range probes() {
					if p.by != "" && p.by != access.String() || p.superuser && rights != pgtest.SuperuserRights {
						continue
					}
					t.Run(access.String()+" "+p.name, func(t *testing.T) {
						p.try(t, conn, s.fill(t, p.sql, login, access))
					})
				}
				require.Equal(t, before, s.fingerprint(t))
			}
			require.NoFileExists(t, filepath.Join(os.TempDir(), "platformd-probe"))
			rows, err := s.storage.Ledger(t.Context(), "billing")
			require.NoError(t, err)
			require.Equal(t, []string{"0001"}, ledger.IDs(rows))
		})
	}
}

// session is one connection of a login.
func session(t *testing.T, login *storage.Login) *sql.Conn {
	t.Helper()
	db, err := pgtest.Open(t, login.Database.Source).DB()
	require.NoError(t, err)
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // its session may have been ended
	return conn
}

// try runs the probe, and puts the session back.
func (p probe) try(t *testing.T, conn *sql.Conn, text string) {
	t.Helper()
	defer func() {
		_, err := conn.ExecContext(context.WithoutCancel(t.Context()), "ROLLBACK; RESET ALL; RESET ROLE")
		require.NoError(t, err)
	}()
	statements := strings.Split(text, " ;; ")
	for i, statement := range statements {
		_, err := conn.ExecContext(t.Context(), statement)
		if last := i == len(statements)-1; !last || p.code == harmless {
			require.NoError(t, err, statement)
			continue
		}
		want := p.code
		if want == "" {
			want = denied
		}
		var refused interface{ SQLState() string }
		require.ErrorAs(t, err, &refused, statement)
		require.Equal(t, want, refused.SQLState(), "%s: %v", statement, err)
	}
}

package sqlfiles_test

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/sqlfiles"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/ledger"
)

// asNobody takes from the process the right to ignore file permissions, which root has.
func asNobody(cmd *exec.Cmd) {
	if os.Getuid() != 0 {
		return
	}
	cmd.Path = "/proc/self/exe" // its folder is closed to others
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

// publicFolder is one that everybody may come to.
func publicFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	t.Cleanup(func() { require.NoError(t, os.Chmod(dir, 0o755)) })
	return dir
}

// onFile carries out the order on an SQLite file.
func onFile(t *testing.T, file string, o sqlfiles.Order, change ...func(*exec.Cmd)) error {
	t.Helper()
	o.Database = backend.Database{Driver: backend.SQLite, Source: file, Ledger: ledger.Table}
	c := startChild(t, change...)
	c.tell(t, o)
	_, err := c.answer(t)
	return err
}

func TestAFolderThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	create := order("0001_a", "CREATE TABLE blog_a (n integer)")
	t.Run("without a file", func(t *testing.T) {
		t.Parallel()
		dir := publicFolder(t)
		require.NoError(t, os.Chmod(dir, 0o555))
		err := onFile(t, filepath.Join(dir, "blog.db"), create, asNobody)
		require.ErrorContains(t, err, "permission denied (fix: let this user write to its folder")
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	})
	for name, mode := range map[string]os.FileMode{"a file that may be written": 0o666, "a file that may not": 0o444} {
		t.Run("with "+name, func(t *testing.T) {
			t.Parallel()
			dir := publicFolder(t)
			file := filepath.Join(dir, "blog.db")
			require.NoError(t, onFile(t, file, create))
			before, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NoError(t, os.Chmod(file, mode))
			require.NoError(t, os.Chmod(dir, 0o555))
			err = onFile(t, file, order("0002_b", "CREATE TABLE blog_b (n integer)"), asNobody)
			require.ErrorContains(t, err, file)
			require.ErrorContains(t, err, "(fix: ")
			after, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, before, after)
		})
	}
}

func TestAFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=256k")
	if err != nil {
		t.Skip("a disk of our own cannot be mounted: ", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	file := filepath.Join(dir, "blog.db")
	require.NoError(t, onFile(t, file, order("0001_a", "CREATE TABLE blog_a (n integer)")))
	full := order("0002_b", "CREATE TABLE blog_big (x integer, pad text)", numbers(backend.SQLite))
	full.Declared = append([]ledger.Declared{{ID: "0001_a", Checksum: "of 0001_a"}}, full.Declared...)
	err = onFile(t, file, full)
	require.ErrorContains(t, err, "statement 2 of 2: ")
	require.ErrorContains(t, err, "(fix: free some space")

	full.Statements[1] = "INSERT INTO blog_big VALUES (1, 'small')"
	require.NoError(t, onFile(t, file, full), "nothing of it is in the way")
}

func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	p := newPlace(t, cluster.Database(t, pgtest.SuperuserRights))
	login := p.login(t)
	defer func() { require.NoError(t, login.Close(t.Context())) }()
	o := order("0001_a", "CREATE TABLE blog_a (n integer)")
	o.Database = login.Database
	source, err := url.Parse(login.Database.Source)
	require.NoError(t, err)
	source.User = url.UserPassword(source.User.Username(), "not-the-password")
	o.Database.Source = source.String()
	c := startChild(t)
	c.tell(t, o)
	_, err = c.answer(t)
	require.ErrorContains(t, err, "the database refuses the credentials (fix: ")
	require.NotContains(t, err.Error(), "not-the-password")
	require.Empty(t, p.rows(t))
}

func TestAServerThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	core := cluster.Database(t, pgtest.SuperuserRights)
	p := newPlace(t, core)
	source, err := url.Parse(core)
	require.NoError(t, err)
	database := strings.TrimPrefix(source.Path, "/")
	login := p.login(t) // the place is made while it still can be
	defer func() { require.NoError(t, login.Close(t.Context())) }()
	require.NoError(t, cluster.Admin(t).Exec("ALTER DATABASE "+database+" SET default_transaction_read_only = on").Error)
	o := order("0001_a", "CREATE TABLE blog_a (n integer)")
	o.Database = login.Database
	c := startChild(t)
	c.tell(t, o)
	_, err = c.answer(t)
	require.ErrorContains(t, err, "the database may not be written (fix: connect to the primary server)")
	require.NoError(t, cluster.Admin(t).Exec("ALTER DATABASE "+database+" RESET default_transaction_read_only").Error)
	require.Empty(t, p.rows(t))
	p.requireNoTable(t)
}

// What the server says of its own disk; to fill it would take the machine's.
func TestAServersFullDisk(t *testing.T) {
	t.Parallel()
	p := newPlace(t, cluster.Database(t, pgtest.SuperuserRights))
	_, err := p.run(t, order("0001_a", "CREATE TABLE blog_a (n integer)",
		"DO $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$"))
	require.ErrorContains(t, err, "statement 2 of 2: the database's disk is full (fix: free some space on the server)")
	require.Empty(t, p.rows(t))
	p.requireNoTable(t)
}

// A step that is in the module's file must leave other modules' schemas alone; the server refuses it.
func TestAnotherSchema(t *testing.T) {
	t.Parallel()
	p := newPlace(t, cluster.Database(t, pgtest.SuperuserRights))
	other, err := p.store.Login(t.Context(), "billing", storage.Owner)
	require.NoError(t, err)
	db, err := backend.Open(t.Context(), other.Database, backend.Options{})
	require.NoError(t, err)
	require.NoError(t, db.Exec("CREATE TABLE billing_invoices (n integer)").Error)
	require.NoError(t, backend.Close(db))
	require.NoError(t, other.Close(t.Context()))
	for _, statement := range []string{
		"DROP TABLE billing.billing_invoices", "INSERT INTO billing.billing_invoices VALUES (1)",
		"CREATE TABLE billing.mine (n integer)",
		"CREATE TABLE public.mine (n integer)", "CREATE SCHEMA mine", "DROP SCHEMA blog CASCADE",
		"CREATE VIEW blog_view AS SELECT * FROM platformd.logins", "DROP TABLE platformd_ledgers.blog",
	} {
		_, err := p.run(t, order("0001_a", "CREATE TABLE blog_a (n integer)", statement))
		require.ErrorContains(t, err, "statement 2 of 2: ", statement)
		require.ErrorContains(t, err, "the database does not allow it (fix: ", statement)
		require.Empty(t, p.rows(t))
		p.requireNoTable(t)
	}
	var there bool
	require.NoError(t, p.store.Core().Raw("SELECT to_regclass('billing.billing_invoices') IS NOT NULL").Scan(&there).Error)
	require.True(t, there)
}

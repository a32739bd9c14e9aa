package sqlfiles_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/sqlfiles"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/ledger"
)

var cluster pgtest.Cluster

func TestMain(m *testing.M) {
	sqlfiles.Main()
	goleak.VerifyTestMain(m, goleak.Cleanup(cluster.Exit))
}

// patience bounds every wait for a state, on a machine that does much else.
const patience = 60 * time.Second

// place is the data of a module, as the core gives it to a migration.
type place struct{ store *storage.Storage }

// onEach runs a test on each backend.
func onEach(t *testing.T, test func(t *testing.T, p place)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, newPlace(t, ""))
	})
	t.Run("postgresql", func(t *testing.T) {
		t.Parallel()
		test(t, newPlace(t, cluster.Database(t, pgtest.SuperuserRights)))
	})
}

func newPlace(t *testing.T, url string) place {
	t.Helper()
	store, err := storage.Open(t.Context(), storage.Options{DataDir: t.TempDir(), URL: config.SecretURL(url)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return place{store}
}

func (p place) dialect() string { return p.store.Module("blog").Driver }

// login is the access of one run.
func (p place) login(t *testing.T) *storage.Login {
	t.Helper()
	login, err := p.store.Login(t.Context(), "blog", storage.Owner)
	require.NoError(t, err)
	return login
}

// run has a process of its own carry out the order.
func (p place) run(t *testing.T, order sqlfiles.Order) ([]string, error) {
	t.Helper()
	login := p.login(t)
	defer func() { require.NoError(t, login.Close(t.Context())) }()
	order.Database = login.Database
	c := startChild(t)
	c.tell(t, order)
	return c.answer(t)
}

// rows is the module's ledger.
func (p place) rows(t *testing.T) []ledger.Row {
	t.Helper()
	rows, err := p.store.Ledger(t.Context(), "blog")
	require.NoError(t, err)
	return rows
}

// query reads numbers as the module could.
func (p place) query(t *testing.T, query string) (numbers []int) {
	t.Helper()
	p.within(t, func(db *gorm.DB) { require.NoError(t, db.Raw(query).Scan(&numbers).Error) })
	return numbers
}

// requireNoTable checks that there is no table of the module's but its ledger.
func (p place) requireNoTable(t *testing.T) {
	t.Helper()
	p.within(t, func(db *gorm.DB) {
		tables, err := db.Migrator().GetTables()
		require.NoError(t, err)
		for _, table := range tables {
			require.Equal(t, ledger.Table, table)
		}
	})
}

func (p place) within(t *testing.T, work func(db *gorm.DB)) {
	t.Helper()
	login := p.login(t)
	db, err := backend.Open(t.Context(), login.Database, backend.Options{})
	require.NoError(t, err)
	work(db)
	require.NoError(t, backend.Close(db))
	require.NoError(t, login.Close(t.Context()))
}

// child is the process that runs a migration.
type child struct {
	cmd      *exec.Cmd
	order    io.WriteCloser
	lifeline *os.File
	out, log bytes.Buffer
}

// startChild starts one, which waits for its order.
func startChild(t *testing.T, change ...func(*exec.Cmd)) *child {
	t.Helper()
	executable, err := os.Executable()
	require.NoError(t, err)
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	c := &child{cmd: exec.CommandContext(t.Context(), executable, sqlfiles.Command), lifeline: writer}
	c.cmd.Env, c.cmd.ExtraFiles = []string{}, []*os.File{reader}
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.log
	for _, f := range change {
		f(c.cmd)
	}
	c.order, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	require.NoError(t, reader.Close())
	t.Cleanup(func() { _ = writer.Close() }) // some tests have
	return c
}

func (c *child) tell(t *testing.T, order sqlfiles.Order) {
	t.Helper()
	require.NoError(t, json.NewEncoder(c.order).Encode(order))
	require.NoError(t, c.order.Close())
}

// answer waits for it.
func (c *child) answer(t *testing.T) ([]string, error) {
	t.Helper()
	require.NoError(t, c.cmd.Wait(), c.log.String())
	require.Empty(t, c.log.String())
	return sqlfiles.ReadAnswer(c.out.Bytes())
}

// kill is kill -9.
func (c *child) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Kill())
	require.ErrorContains(t, c.cmd.Wait(), "killed")
	require.Empty(t, c.out.String())
}

// await waits for a state.
func await(t *testing.T, what string, reached func() bool) {
	t.Helper()
	require.Eventually(t, reached, patience, 10*time.Millisecond, what)
}

// walSize is how much SQLite has written and not yet moved into the file.
func walSize(t *testing.T, file string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Clean(file) + "-wal")
	if os.IsNotExist(err) {
		return 0
	}
	require.NoError(t, err)
	return info.Size()
}

// folder lays out a module's folder with migrations.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, sqlfiles.Folder), 0o755))
	for name, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, sqlfiles.Folder, name), []byte(content), 0o644))
	}
	return dir
}

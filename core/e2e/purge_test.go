package e2e

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// purged are the modules that come, are used, and go again.
func purged() []string { return []string{"blog", "clerk", "courier"} }

// purging is a platform whose modules go, and where all that there could be of them is looked for.
type purging struct {
	*platform
	env    []string
	prefix string // of what it has on the broker
	redis  *redisServer
}

// onEachPlace runs a test without any server, and with all of them.
func onEachPlace(t *testing.T, test func(t *testing.T, p *purging)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		p := &purging{platform: &platform{t: t, dir: newDirOn(t, onSQLite, "billing")}}
		test(t, p)
	})
	t.Run("postgresql", func(t *testing.T) {
		t.Parallel()
		p := &purging{redis: newRedis(t), env: brokerEnv(t), platform: &platform{t: t, dir: newDirOn(t, onPostgreSQL, "billing")}}
		_, p.prefix, _ = strings.Cut(p.env[1], "=")
		p.env = append(p.env, "PLATFORMD_CACHE_URL=unix://"+p.redis.socket())
		test(t, p)
	})
}

// run starts the platform again.
func (p *purging) run() {
	p.t.Helper()
	p.platform = launch(p.t, p.dir, options{env: p.env})
	p.awaitReady()
}

// snapshot is all that there is, but for what tells of the past, and what changes by itself.
func (p *purging) snapshot() map[string]string {
	p.t.Helper()
	all := map[string]string{}
	p.snapshotFiles(all)
	core, schema := p.coreDatabase()
	var tables []string
	if schema == "" {
		require.NoError(p.t, core.Raw("SELECT name FROM sqlite_master WHERE type = 'table'").Scan(&tables).Error)
	} else {
		require.NoError(p.t, core.Raw("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'platformd'::regnamespace").
			Scan(&tables).Error)
		p.snapshotServer(core, all)
	}
	for _, table := range tables {
		if strings.Contains(table, "audit") || table == "logins" || strings.HasPrefix(table, "bus_holders") ||
			strings.HasPrefix(table, "sqlite_") || table == "platformd_outbox" || table == "bus_events" {
			continue
		}
		var rows int64
		require.NoError(p.t, core.Raw("SELECT count(*) FROM "+schema+table).Scan(&rows).Error)
		all["rows of "+table] = fmt.Sprint(rows)
	}
	return all
}

// snapshotServer looks outside of the core's schema, too. Roles of processes have random names.
func (p *purging) snapshotServer(core *gorm.DB, all map[string]string) {
	p.t.Helper()
	var names []string
	require.NoError(p.t, core.Raw("SELECT 'schema ' || nspname FROM pg_namespace UNION ALL "+
		"SELECT 'role ' || rolname FROM pg_roles WHERE NOT rolcanlogin AND rolname LIKE 'pd\\_' || "+
		"(SELECT id FROM platformd.installation) || '\\_%' UNION ALL "+
		"SELECT 'table ' || n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "+
		"WHERE nspname NOT LIKE 'pg\\_%' AND nspname NOT IN ('platformd', 'information_schema') UNION ALL "+
		"SELECT 'large object ' || oid FROM pg_largeobject_metadata").Scan(&names).Error)
	queues, ok := listBroker("list_queues", p.prefix)
	require.True(p.t, ok)
	for _, queue := range queues {
		names = append(names, "queue "+queue)
	}
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: p.redis.socket()})
	defer client.Close()
	keys, err := client.Keys(p.t.Context(), "*").Result()
	require.NoError(p.t, err)
	for _, name := range append(names, keys...) {
		all[name] = "is there"
	}
}

func (p *purging) snapshotFiles(all map[string]string) {
	p.t.Helper()
	data := filepath.Join(p.dir, "data")
	require.NoError(p.t, filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, data)
		if errors.Is(err, fs.ErrNotExist) || err == nil && entry.IsDir() {
			if name == "/logs" || name == "/run" {
				return filepath.SkipDir
			}
			return nil
		}
		if err != nil || strings.HasSuffix(name, "-wal") || strings.HasSuffix(name, "-shm") {
			return err
		}
		all["file "+name] = "is there"
		if strings.HasSuffix(name, ".json") {
			content, err := os.ReadFile(path)
			all["file "+name] = string(content)
			return err
		}
		return nil
	}))
}

// use has the modules come, and leave as much as they can.
func (p *purging) use() (token string) {
	p.t.Helper()
	for _, name := range purged() {
		require.NoError(p.t, os.CopyFS(filepath.Join(p.dir, "modules", name), os.DirFS(filepath.Join(built, "modules", name))))
	}
	p.cli("reload")
	for _, name := range purged() {
		require.Equal(p.t, "ready", p.module(name).State)
	}
	token = p.token("blog.*")
	p.cli("role", "assign", "author", "bob@example.com")
	p.cli("role", "grant", "writers", "blog.post.read")
	for i := range 3 {
		p.post(token, fmt.Sprintf("post %d", i))
	}
	require.Equal(p.t, http.StatusNoContent, p.do(http.MethodPut, "/api/v1/clerk/cache/k", "", "value").status)
	require.Equal(p.t, http.StatusOK, p.publish(order{Type: thing, Do: "drop", ID: "dead"}).status)
	p.awaitDead(1)
	require.NoError(p.t, os.WriteFile(filepath.Join(p.dir, "data", "crashes", "clerk.json"), []byte("[]"), 0o600))
	p.cli("module", "stop", "courier")
	return token
}

// prepare makes a platform with people, and remembers what it is before the modules come.
func (p *purging) prepare() map[string]string {
	p.t.Helper()
	require.NoError(p.t, os.MkdirAll(filepath.Join(p.dir, "data", "crashes"), 0o700))
	require.NoError(p.t, os.WriteFile(filepath.Join(p.dir, "secret"), []byte(goodWords), 0o600))
	p.run()
	p.cli("user", "create", "bob@example.com", "--name", "Bob", "--password-file", filepath.Join(p.dir, "secret"))
	p.cli("role", "create", "writers")
	p.cli("module", "disable", "billing")
	p.cli("module", "enable", "billing") // so that there is a modules.json
	return p.snapshot()
}

// leave has the folders of the modules gone, one of which is disabled.
func (p *purging) leave() {
	p.t.Helper()
	p.cli("module", "disable", "courier")
	for _, name := range purged() {
		require.NoError(p.t, os.RemoveAll(filepath.Join(p.dir, "modules", name)))
	}
	p.cli("reload")
}

// TestPurge: of a module that comes, is used and goes, a purge leaves nothing but what the audit log and the logs tell of it;
// what is in the export is what was there.
func TestPurge(t *testing.T) {
	t.Parallel()
	onEachPlace(t, func(t *testing.T, p *purging) {
		before := p.prepare()
		p.use()
		_, stderr, code := p.tryCLI("module", "purge", "blog", "-y")
		require.Equal(t, 1, code)
		require.Contains(t, stderr, "fix: platformd module disable blog")
		p.leave()
		require.NotEqual(t, before, p.snapshot())
		for _, name := range purged() {
			require.NotEmpty(t, p.cli("module", "data", name))
		}
		_, stderr, code = p.tryCLI("module", "purge", "blog")
		require.Equal(t, 2, code, "nobody is there to ask: %s", stderr)
		export := filepath.Join(p.dir, "blog.tar.gz")
		require.Contains(t, p.cli("module", "purge", "blog", "--export", export, "-y"), "removed token ")
		p.cli("module", "purge", "clerk", "--no-export", "-y")
		p.stop()
		<-p.exited
		events := filepath.Join(p.dir, "courier.tar.gz")
		require.Contains(t, p.cli("module", "purge", "courier", "--export", events, "-y"), "removed dead letters courier")
		_, stderr, code = p.tryCLI("module", "purge", "courier", "-y")
		require.Equal(t, 5, code, stderr)
		p.run()
		require.Equal(t, before, p.snapshot())
		p.restores(export)
		require.Contains(t, members(t, events)["dead-letters.json"], `"dead"`)
		require.Contains(t, p.cli("audit", "search", "--action", "module.purge"), "module/blog")

		p.use() // it can come again, and begins anew
		require.Len(t, p.posts(p.token("blog.*")), 3)
	})
}

// restores makes a database of an export.
func (p *purging) restores(export string) {
	p.t.Helper()
	files := members(p.t, export)
	if p.redis == nil {
		file := filepath.Join(p.t.TempDir(), "blog.db")
		require.NoError(p.t, os.WriteFile(file, []byte(files["blog.db"]), 0o600))
		db, err := sqlite.Open(p.t.Context(), file, sqlite.Options{})
		require.NoError(p.t, err)
		defer func() { require.NoError(p.t, sqlite.Close(db)) }()
		p.hasPosts(db, "blog_posts")
		return
	}
	source := newDatabase(p.t)
	file := filepath.Join(p.t.TempDir(), "blog.dump")
	require.NoError(p.t, os.WriteFile(file, []byte(files["blog.dump"]), 0o600))
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "pg_restore", "--no-owner", "--no-acl", "--dbname="+source, file).CombinedOutput()
	require.NoError(p.t, err, string(out))
	p.hasPosts(connect(p.t, source), "blog.blog_posts")
}

func (p *purging) hasPosts(db *gorm.DB, table string) {
	p.t.Helper()
	var titles []string
	require.NoError(p.t, db.Raw("SELECT title FROM "+table+" ORDER BY title").Scan(&titles).Error)
	require.Equal(p.t, []string{"post 0", "post 1", "post 2"}, titles)
}

// members are the files in an export.
func members(t *testing.T, export string) map[string]string {
	t.Helper()
	file, err := os.Open(export)
	require.NoError(t, err)
	defer file.Close()
	info, err := file.Stat()
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	zip, err := gzip.NewReader(file)
	require.NoError(t, err)
	files := map[string]string{}
	for all := tar.NewReader(zip); ; {
		header, err := all.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		content, err := io.ReadAll(all)
		require.NoError(t, err)
		files[header.Name] = string(content)
	}
}

// doomed is platformd with points at which it can be killed. It is built once, when a test wants it.
var doomed = sync.OnceValues(func() (string, error) {
	out := filepath.Join(built, "doomed")
	cmd := exec.Command("go", "build", "-tags", "failpoints", "-o", out, ".")
	cmd.Dir, cmd.Env = filepath.Join("..", "cmd", "platformd"), append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, output)
	}
	return out, nil
})

// TestPurgeIsCarriedOn: killed before each of its steps, one after the other, a purge is carried on by the next daemon, and comes
// to its end.
func TestPurgeIsCarriedOn(t *testing.T) {
	t.Parallel()
	onEachPlace(t, func(t *testing.T, p *purging) {
		binary, err := doomed()
		require.NoError(t, err)
		before := p.prepare()
		p.use()
		p.leave()
		p.cli("module", "purge", "blog", "--no-export", "-y")
		p.cli("module", "purge", "clerk", "--no-export", "-y")
		p.stop()
		<-p.exited
		points := []string{"queues", "database", "files", "cache", "grants", "tokens", "dead-letters", "crashes", "user", "end"}
		for i, point := range points {
			p.platform = launchBinary(t, p.dir, binary, options{env: append(p.env, "PLATFORMD_FAILPOINT=purge-"+point)})
			if i == 0 {
				p.awaitReady()
				_, _, code := p.tryCLI("module", "purge", "courier", "--no-export", "-y")
				require.Equal(t, 1, code)
			}
			<-p.exited
			require.NotContains(t, p.log.String(), "panic")
		}
		p.run()
		p.await("the purge to be carried on", func() bool {
			_, _, code := p.tryCLI("module", "data", "courier")
			return code == 5
		})
		require.Equal(t, before, p.snapshot())
	})
}

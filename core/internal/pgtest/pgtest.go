// Package pgtest gives tests a PostgreSQL cluster of their own, in which passwords count: the machine's may trust everybody,
// which would hide every mistake about credentials.
//
// It is for tests only; it must not be used by the product.
package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// startWait bounds the start of a cluster, on a machine that does much else.
const startWait = time.Minute

// Superuser is the name of the role that owns a cluster.
const Superuser = "postgres"

// Cluster is a PostgreSQL server with scram-sha-256 for everybody, in a folder of its own. The zero value starts when it is
// first asked for something; share one per test process, and Stop it in TestMain:
//
//	var cluster pgtest.Cluster
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(cluster.Exit)) }
//
// It ends with the test process, however that ends. Its methods are safe for concurrent use.
type Cluster struct {
	mu       sync.Mutex // guards all
	bin      string
	dir      string // "" until it is made
	password string
	port     int
	server   *exec.Cmd      // nil while it is down
	lifeline io.WriteCloser // a line, or its end, ends the server
}

// Require starts the cluster if it does not run. Where PostgreSQL is not installed the test is skipped, or fails if
// PLATFORMD_TEST_SERVICES=required.
func (c *Cluster) Require(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		return
	}
	bin, err := binaries()
	if err != nil && os.Getenv("PLATFORMD_TEST_SERVICES") != "required" {
		t.Skip(err)
	}
	if err == nil {
		c.bin = bin
		err = c.start()
	}
	if err != nil {
		t.Fatal("private PostgreSQL: ", err)
	}
}

// Exit stops the cluster and ends the test process; see Cluster.
func (c *Cluster) Exit(code int) {
	if err := c.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "private PostgreSQL:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Stop ends the server and removes its data.
func (c *Cluster) Stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.down()
	if c.dir != "" {
		err = errors.Join(err, os.RemoveAll(c.dir))
		c.dir = ""
	}
	return err
}

// Down ends the server as a crash does and keeps its data; Require starts it again, on the same port.
func (c *Cluster) Down(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.down(); err != nil {
		t.Fatal("private PostgreSQL: ", err)
	}
}

// URL is how role reaches the database over TCP; an empty role is the superuser.
func (c *Cluster) URL(database, role, password string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if role == "" {
		role, password = Superuser, c.password
	}
	return (&url.URL{
		Scheme: "postgres", User: url.UserPassword(role, password), Path: "/" + database,
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)), RawQuery: "sslmode=disable",
	}).String()
}

// SocketURL is URL over the cluster's unix socket.
func (c *Cluster) SocketURL(database, role, password string) string {
	u, err := url.Parse(c.URL(database, role, password))
	if err != nil {
		panic(err) // made a moment ago
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	u.Host = ""
	u.RawQuery = url.Values{"host": {c.dir}, "port": {strconv.Itoa(c.port)}}.Encode()
	return u.String()
}

func (c *Cluster) down() error {
	if c.server == nil {
		return nil
	}
	_, err := io.WriteString(c.lifeline, "\n")
	err = errors.Join(err, c.lifeline.Close())
	var ended *exec.ExitError
	if waited := c.server.Wait(); !errors.As(waited, &ended) { // its verdict is that of a server that was shot
		err = errors.Join(err, waited)
	}
	c.server = nil
	return err
}

func (c *Cluster) start() error {
	if c.dir == "" {
		if err := c.create(); err != nil {
			return err
		}
	}
	return c.up()
}

// create makes the cluster's files. The folder's path is short, as it holds a unix socket.
func (c *Cluster) create() error {
	dir, err := os.MkdirTemp("", "pd-pg-")
	if err != nil {
		return err
	}
	c.dir, c.password = dir, secret()
	file := filepath.Join(dir, "password")
	if err := os.WriteFile(file, []byte(c.password), 0o600); err != nil {
		return err
	}
	if err := give(dir, file); err != nil {
		return err
	}
	initdb := exec.CommandContext(context.Background(), filepath.Join(c.bin, "initdb"), "--pgdata", c.data(), "--auth=scram-sha-256",
		"--username="+Superuser, "--pwfile="+file, "--encoding=UTF8", "--locale=C", "--no-sync")
	initdb.Dir = dir
	as(initdb)
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	c.port, err = freePort()
	return err
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// keeper runs the server until a line comes, or the end of its standard input: that is the end of a test process that was killed,
// after which nobody else would remove the cluster's folder.
const keeper = `dir=$1; shift
"$@" & server=$!
read -r _; killed=$?
kill -QUIT $server
wait $server
[ $killed -eq 0 ] || { cd / && rm -rf "$dir"; }`

func (c *Cluster) up() error {
	log, err := os.Create(filepath.Join(c.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	server := exec.CommandContext(context.Background(), "/bin/sh", "-c", keeper, "sh", c.dir,
		filepath.Join(c.bin, "postgres"), "-D", c.data(),
		"-p", strconv.Itoa(c.port), "-h", "127.0.0.1", "-k", c.dir, "-F", "-c", "max_connections=200",
		"-c", "shared_buffers=32MB", "-c", "wal_level=logical", "-c", "max_prepared_transactions=5")
	server.Dir, server.Stdout, server.Stderr = c.dir, log, log
	as(server)
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close()
	server.Stdin = reader
	if err := server.Start(); err != nil {
		return errors.Join(err, writer.Close())
	}
	c.server, c.lifeline = server, writer
	if err := c.answers(); err != nil {
		out, _ := os.ReadFile(log.Name()) // says more, if it can be read
		return errors.Join(err, c.down(), errors.New(string(out)))
	}
	return nil
}

// answers waits for the server.
func (c *Cluster) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	address := &url.URL{
		Scheme: "postgres", User: url.UserPassword(Superuser, c.password), Path: "/postgres",
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)), RawQuery: "sslmode=disable",
	}
	for {
		db, err := postgres.Open(ctx, address.String(), postgres.Options{})
		if err == nil {
			return postgres.Close(db)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("initdb is not there (fix: install the PostgreSQL server, such as Debian's package postgresql)")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// freePort is one that nobody listens on now.
func freePort() (int, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

// secret is 16 random hex digits.
func secret() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// quoted is an SQL identifier.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

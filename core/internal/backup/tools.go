package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// tools are PostgreSQL's own programs.
type tools struct{ dump, restore string }

// killWait is how long a program has to end after it was asked to.
const killWait = 5 * time.Second

// maxComplaint bounds what is kept of a program's standard error.
const maxComplaint = 4 << 10

// toolFolders is where the programs may be: where Debian keeps each version, then where the shell looks.
func toolFolders() []string {
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // its pattern is right
	return append(folders, filepath.SplitList(os.Getenv("PATH"))...)
}

func findTools(ctx context.Context, o Options, server int) (t tools, err error) {
	folders := o.folders
	if folders == nil {
		folders = toolFolders()
	}
	if t.dump, err = findTool(ctx, "pg_dump", server, folders); err != nil {
		return t, err
	}
	t.restore, err = findTool(ctx, "pg_restore", server, folders)
	return t, err
}

// findTool looks for the oldest program that is as new as the server: a newer one writes what older servers do not understand.
func findTool(ctx context.Context, name string, server int, folders []string) (string, error) {
	best, bestVersion, newest := "", 0, 0
	for _, folder := range folders {
		path, err := exec.LookPath(filepath.Join(folder, name))
		if err != nil || !filepath.IsAbs(path) {
			continue
		}
		version, err := versionOf(ctx, path)
		if err != nil {
			return "", err
		}
		if version == server {
			return path, nil
		}
		newest = max(newest, version)
		if version > server && (best == "" || version < bestVersion) {
			best, bestVersion = path, version
		}
	}
	if best != "" {
		return best, nil
	}
	fix := fmt.Sprintf("(fix: install the client programs of PostgreSQL %d or newer, such as Debian's package postgresql-client-%d)",
		server, server)
	if newest > 0 {
		return "", fmt.Errorf("%s is of version %d, and the server is newer: %d %s", name, newest, server, fix)
	}
	return "", fmt.Errorf("%s is not there %s", name, fix)
}

var toolVersion = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func versionOf(ctx context.Context, path string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, passing)
	defer cancel()
	var out bytes.Buffer
	if err := (program{path, toolEnv()}).run(ctx, &out, "--version"); err != nil {
		return 0, err
	}
	match := toolVersion.FindSubmatch(out.Bytes())
	if match == nil {
		return 0, fmt.Errorf("%s --version says %q (fix: remove what is not PostgreSQL's from PATH)", path, out.String())
	}
	return strconv.Atoi(string(match[1]))
}

// program is one of them, and where it connects to.
type program struct {
	path string
	env  []string
}

// run runs a program to its end. What it complains of is in the error.
func (p program) run(ctx context.Context, out io.Writer, arguments ...string) error {
	cmd := exec.CommandContext(ctx, p.path, arguments...)
	cmd.Env, cmd.Stdout = p.env, out
	complaint := &head{left: maxComplaint}
	cmd.Stderr = complaint
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // both cancel what the server does for them
	cmd.WaitDelay = killWait
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(p.path), err, strings.TrimSpace(complaint.text.String()))
	}
	return nil
}

// head keeps the beginning of what is written to it.
type head struct {
	text strings.Builder
	left int
}

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	n := min(len(p), h.left)
	h.text.Write(p[:n])
	h.left -= n
	return len(p), nil
}

// variables are the names that libpq has in the environment for the parameters of a URL. There the password is nobody else's to
// see, as it would be among a program's arguments.
func variables() map[string]string {
	return map[string]string{
		"user": "PGUSER", "password": "PGPASSWORD", "host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT",
		"dbname": "PGDATABASE", "passfile": "PGPASSFILE", "service": "PGSERVICE", "servicefile": "PGSERVICEFILE",
		"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY",
		"sslnegotiation": "PGSSLNEGOTIATION", "sslsni": "PGSSLSNI", "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
		"ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION", "channel_binding": "PGCHANNELBINDING",
		"require_auth": "PGREQUIREAUTH", "target_session_attrs": "PGTARGETSESSIONATTRS", "gssencmode": "PGGSSENCMODE",
		"krbsrvname": "PGKRBSRVNAME", "connect_timeout": "PGCONNECT_TIMEOUT", "options": "PGOPTIONS",
	}
}

// environment is that of a program that connects to the URL. Certificates are put into a file in dir.
func environment(source string, certificates []byte, dir string) ([]string, error) {
	u, err := url.Parse(source)
	if err != nil {
		return nil, errors.New("database.url cannot be read (fix: write postgres://USER:PASSWORD@HOST:PORT/DATABASE)")
	}
	values := map[string]string{
		"user": u.User.Username(), "host": u.Hostname(), "port": u.Port(), "dbname": strings.TrimPrefix(u.Path, "/"),
	}
	values["password"], _ = u.User.Password()
	for name, value := range u.Query() {
		if len(value) > 0 && value[0] != "" {
			values[name] = value[0]
		}
	}
	if len(certificates) > 0 {
		file := filepath.Join(dir, "root.crt")
		if err := os.WriteFile(file, certificates, 0o600); err != nil {
			return nil, fmt.Errorf("keep the server's certificates: %w", err)
		}
		values["sslrootcert"] = file
	}
	env := append(toolEnv(), "PGAPPNAME=platformd")
	names := variables()
	for name, value := range values {
		if variable := names[name]; variable != "" && value != "" {
			env = append(env, variable+"="+value)
		}
	}
	return env, nil
}

// toolEnv is what programs get of our own environment: what leads to a server where the URL leaves it open, as it does for
// platformd itself, but none of our settings.
func toolEnv() []string {
	env := []string{"LC_ALL=C"}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		switch {
		case name == "PATH", name == "HOME", name == "TMPDIR":
		case !strings.HasPrefix(name, "PG"), name == "PGSERVICE", name == "PGOPTIONS": // these two would win over the URL, or add to it
			continue
		}
		env = append(env, entry)
	}
	return env
}

// databaseOf is the database that an environment names, as pg_restore takes it, which connects nowhere unless it is told where.
func databaseOf(env []string) string {
	database := ""
	for _, entry := range env {
		if name, ok := strings.CutPrefix(entry, "PGDATABASE="); ok {
			database = name
		}
	}
	return "dbname='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(database) + "'"
}

package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// requireOne checks that exactly one thing is wrong and how it is said, and returns where it says that it is.
func requireOne(t *testing.T, err error, code, message string) (source string) {
	t.Helper()
	var errs Errors
	require.ErrorAs(t, err, &errs)
	require.Len(t, errs, 1, "%v", err)
	require.Equal(t, code, errs[0].Code, "%v", err)
	require.Contains(t, errs[0].Error(), message)
	require.NotEmpty(t, errs[0].Fix)
	return errs[0].Source
}

// badFile is a config.yaml with one thing wrong with it, and what is said about it.
type badFile struct {
	text    string
	line    int
	code    string
	message string
}

func checkBadFiles(t *testing.T, tests []badFile) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			path := write(t, test.text)
			_, err := Load(Options{Path: path, Explicit: true, Env: []string{"SET=set"}})
			require.Equal(t, fmt.Sprintf("%s:%d", path, test.line), requireOne(t, err, test.code, test.message))
			require.NotContains(t, strings.ReplaceAll(err.Error(), path, ""), "hunter2")
		})
	}
}

func TestBadShape(t *testing.T) {
	t.Parallel()
	checkBadFiles(t, []badFile{
		{"servr: {}", 1, "unknown_key", `unknown key "servr" in config.yaml; did you mean "server"?`},
		{"\nserver:\n  listn: x", 3, "unknown_key", "did you mean \"listen\"?\nfix: rename it to listen, or remove it"},
		{"server:\n  hold_timeout: 5s", 2, "unknown_key", `did you mean "holdTimeout"?`},
		{"server: {xyzzy: 1}", 1, "unknown_key", "unknown key \"xyzzy\" in `server`\nfix: remove it, or use one of: listen, publicURL"},
		{"modules: {overrides: {blog: {confg: {}}}}", 1, "unknown_key", "in `modules.overrides.blog`; did you mean \"config\"?"},
		{"log: {level: info}\ndata: {}\nlog: {format: json}", 3, "duplicate_key", `"log" is already on line 1`},
		{"modules: {overrides: {blog: {config: {a: 1,\n a: 2}}}}", 2, "duplicate_key", `"a" is already on line 1`},
		{"modules: {overrides: {blog: {config: {1: x}}}}", 1, "bad_key", "a key must be text"},
		{"? [a]\n: b", 1, "bad_key", "a key must be text"},
		{"log: {level: info}\n---\nlog: {level: warn}", 2, "second_document", "a second YAML document"},
		{"log: &a {level: info}", 1, "alias", "anchors (&name) and aliases (*name) are not allowed"},
		{"\ndata: {dir: *hunter2}", 2, "alias", "aliases"},
		{"data: {dir: !secret x}", 1, "tag", "tags (!name)"},
		{"data: {dir: x", 1, "bad_yaml", "this is not YAML"},
		{"a: 1\n\tb: 2", 2, "bad_yaml", "this is not YAML"},
		{"a: 1\n--- [", 2, "bad_yaml", "this is not YAML"},
	})
}

func TestLongValuesAreCut(t *testing.T) {
	t.Parallel()
	_, err := load(t, "log: {level: "+strings.Repeat("é", 500)+", "+strings.Repeat("k", 500)+": 1}")
	require.ErrorContains(t, err, `unknown key "`+strings.Repeat("k", 80)+`…" in`)
	require.NotContains(t, err.Error(), strings.Repeat("k", 81))
	_, err = load(t, "log: {level: "+strings.Repeat("é", 500)+"}")
	requireOne(t, err, "bad_value", `"`+strings.Repeat("é", 80)+`…" is not one of`)
}

func TestBadTypes(t *testing.T) {
	t.Parallel()
	checkBadFiles(t, []badFile{
		{"- server", 1, "bad_type", "config.yaml must be a block of keys and values"},
		{"\ufefflog: {}", 1, "bad_encoding", "byte order mark"},
		{"log: {}\n# \xff", 2, "bad_encoding", "not UTF-8"},
		{"log: {}\n# \x00", 2, "bad_encoding", "control character, U+0000"},
		{"server: [1]", 1, "bad_type", "`server` must be a block of keys and values"},
		{"server: {trustedProxies: 10.0.0.1}", 1, "bad_type", "`server.trustedProxies` must be a list"},
		{"server: {listen: {a: b}}", 1, "bad_type", "`server.listen` must be a single value"},
		{"data: {dir: 5}", 1, "bad_type", "`data.dir` must be text\nfix: put the value in quotes"},
		{"data: {dir: }", 1, "no_value", "`data.dir` has no value"},
		{"database: {maxConns: '6'}", 1, "bad_type", "`database.maxConns` must not be text"},
		{"database: {maxConns: 1.5}", 1, "bad_type", `"1.5" is not a whole number`},
		{"database: {maxConns: 99999999999999999999}", 1, "bad_type", "is not a whole number"},
		{"modules: {requireSigned: yes}", 1, "bad_type", `"yes" is neither true nor false`},
		{"modules: {overrides: {blog: {config: {a: .nan}}}}", 1, "bad_type",
			"`modules.overrides.blog.config.a` is not a finite number"},
	})
}

func TestBadDurations(t *testing.T) {
	t.Parallel()
	checkBadFiles(t, []badFile{
		{"server: {holdTimeout: 5}", 1, "no_unit", "`server.holdTimeout`: 5 has no unit; write 5s"},
		{"server: {holdTimeout: '2.5'}", 1, "no_unit", "2.5 has no unit; write 2.5s"},
		{"server: {drainTimeout: soon}", 1, "bad_duration", `"soon" is not a duration`},
		{"auth: {refreshTTL: 30d}", 1, "bad_duration", "there is no unit above h"},
		{"server: {holdTimeout: 0}", 1, "out_of_range", "`server.holdTimeout` must be greater than zero, not 0s"},
		{"server: {holdTimeout: 0s}", 1, "out_of_range", "must be greater than zero"},
		{"server: {drainTimeout: -5s}", 1, "out_of_range", "`server.drainTimeout` must be greater than zero, not -5s"},
		{"supervisor: {restart: {window: 0s}}", 1, "out_of_range", "`supervisor.restart.window`"},
		{"auth: {accessTTL: -1h}", 1, "out_of_range", "`auth.accessTTL`"},
		{"auth: {accessTTL: 24h1s}", 1, "out_of_range",
			"`auth.accessTTL` must be at most 24h, not 24h0m1s\nfix: write 24h or less, or remove it"},
		{"audit: {retention: 23h59m}", 1, "out_of_range",
			"`audit.retention` must be at least 24h, not 23h59m\nfix: write 24h or more, or remove it"},
		{"audit: {retention: -720h}", 1, "out_of_range", "`audit.retention` must be at least 24h, not -720h"},
		{"audit: {retention: 365d}", 1, "bad_duration", "there is no unit above h"},
		{"audit:\n  retention: 365", 2, "no_unit", "`audit.retention`: 365 has no unit"},
		{"auth: {refreshTTL: 1m}", 1, "conflict", "`auth.accessTTL` must not be longer than auth.refreshTTL, and is 15m"},
		{"modules: {overrides: {blog: {restart: {window: 0s}}}}", 1, "out_of_range", "`modules.overrides.blog.restart.window`"},
	})
}

func TestBadNumbersAndNames(t *testing.T) {
	t.Parallel()
	checkBadFiles(t, []badFile{
		{"server: {maxConnections: -1}", 1, "out_of_range", "`server.maxConnections` must be at least 0, not -1"},
		{"server: {maxConnectionsPerClient: -1}", 1, "out_of_range", "must be at least 0, not -1"},
		{"database: {maxConns: 0}", 1, "out_of_range", "`database.maxConns` must be at least 1, not 0"},
		{"database: {moduleMaxConns: -1}", 1, "out_of_range", "`database.moduleMaxConns`"},
		{"database: {moduleMaxConns: 10001}", 1, "out_of_range", "`database.moduleMaxConns` must be at most 10000, not 10001"},
		{"supervisor: {restart: {max: 0}}", 1, "out_of_range", "`supervisor.restart.max`"},
		{"modules: {overrides: {blog: {restart: {max: 0}}}}", 1, "out_of_range", "`modules.overrides.blog.restart.max`"},
		{"modules: {overrides: {blog: {limits: {pids: 5}}}}", 1, "out_of_range", "must be at least 16, not 5"},
		{"modules: {overrides: {blog: {limits: {openFiles: 5}}}}", 1, "out_of_range", "must be at least 64, not 5"},
		{"modules: {overrides: {blog: {limits: {concurrency: 0}}}}", 1, "out_of_range", "must be at least 1, not 0"},
		{"modules: {overrides: {blog: {limits: {cpu: 0}}}}", 1, "out_of_range", "must be at least 0.01, not 0"},
		{"modules: {overrides: {blog: {limits: {cpu: .nan}}}}", 1, "bad_type", "is not a number"},
		{"modules: {overrides: {blog: {limits: {cpu: '1'}}}}", 1, "bad_type", "must not be text"},
		{"modules: {overrides: {blog: {limits: {memory: 1MiB}}}}", 1, "bad_value", "is not a size of at least 16MiB"},
		{"modules: {overrides: {blog: {limits: {memory: '128'}}}}", 1, "bad_value", "is not a size"},
		{"modules: {overrides: {Blog: {}}}", 1, "bad_value", `"Blog" is not the name of a module`},
		{"modules: {overrides: {../x: {}}}", 1, "bad_value", `"../x" is not the name of a module`},
		{"data: {dir: ''}", 1, "no_value", "`data.dir` must not be empty"},
		{"modules: {dir: ''}", 1, "no_value", "`modules.dir` must not be empty"},
		{"events: {exchange: amq.topic}", 1, "bad_value", `"amq.topic" is not a name that an exchange may have`},
		{"events: {exchange: ''}", 1, "bad_value", "`events.exchange`"},
		{"log: {level: loud}", 1, "bad_value", `"loud" is not one of trace, debug, info, warn, error`},
		{"log: {level: INFO}", 1, "bad_value", `"INFO" is not one of`},
		{"log: {format: xml}", 1, "bad_value", `"xml" is not one of auto, text, json`},
		{"database: {isolation: none}", 1, "bad_value", `"none" is not one of role, schema`},
	})
}

func TestBadAddresses(t *testing.T) {
	t.Parallel()
	checkBadFiles(t, []badFile{
		{"server:\n  listen: 127.0.0.1:70000", 2, "out_of_range", "`server.listen`: port 70000 is out of range"},
		{"server: {listen: '127.0.0.1:99999999999999999999'}", 1, "out_of_range", "is out of range"},
		{"server: {listen: '127.0.0.1:-1'}", 1, "bad_address", "is not a number"},
		{"server: {listen: '127.0.0.1:http'}", 1, "bad_address", `port "http" is not a number`},
		{"server: {listen: '127.0.0.1:'}", 1, "bad_address", `port "" is not a number`},
		{"server: {listen: '8080'}", 1, "bad_address", `"8080" is not host:port`},
		{"server: {listen: ''}", 1, "bad_address", "is not host:port"},
		{"server: {listen: 'http://x:80'}", 1, "bad_address", "is not host:port"},
		{"server: {listen: 'a b:80'}", 1, "bad_address", `"a b" is neither an IP address nor a host name`},
		{"server: {publicURL: example.com}", 1, "bad_url", "is not an absolute http or https URL"},
		{"server: {publicURL: /x}", 1, "bad_url", "is not an absolute http or https URL"},
		{"server: {publicURL: 'ftp://x'}", 1, "bad_url", "is not an absolute http or https URL"},
		{"server: {publicURL: 'https://'}", 1, "bad_url", "is not an absolute http or https URL"},
		{"server: {publicURL: 'https://:80'}", 1, "bad_url", "is not an absolute http or https URL"},
		{"server: {publicURL: 'https://x:70000'}", 1, "out_of_range", "port 70000 is out of range"},
		{"server: {publicURL: 'https://x?a=b'}", 1, "bad_url", "must have no user, query or fragment"},
		{"server: {publicURL: 'https://x#y'}", 1, "bad_url", "must have no user, query or fragment"},
		{"server: {trustedProxies: [10.0.0.0/8, 10.0.0.0/99]}", 1, "bad_value",
			"`server.trustedProxies[1]`: \"10.0.0.0/99\" is neither"},
		{"server: {trustedProxies: [proxy.local]}", 1, "bad_value", "neither an IP address nor a CIDR range"},
		{"server: {cors: {origins: ['https://x.example/']}}", 1, "bad_origin", "fix: write https://x.example:"},
		{"server: {cors: {origins: ['https://x.example/path']}}", 1, "bad_origin", "is not an origin"},
		{"server: {cors: {origins: ['https://X.example:443']}}", 1, "bad_origin", "fix: write https://x.example:"},
		{"server: {cors: {origins: [x.example]}}", 1, "bad_origin", "is not an origin"},
		{"server: {cors: {origins: ['null']}}", 1, "bad_origin", "is not an origin"},
		{"server: {cors: {origins: ['https://*.example']}}", 1, "bad_origin", "is not an origin"},
		{"server: {cors: {origins: ['https://x?']}}", 1, "bad_origin", "is not an origin"},
	})
}

func TestBadReferences(t *testing.T) {
	t.Parallel()
	checkBadFiles(t, []badFile{
		{"data:\n  dir: /x/${PD_UNSET}/y", 2, "unset_variable", "`data.dir`: the environment variable PD_UNSET is not set"},
		{"data: {dir: '${'}", 1, "bad_reference", "must be followed by the name"},
		{"data: {dir: '${}'}", 1, "bad_reference", "must be followed by the name"},
		{"data: {dir: '${A:-b}'}", 1, "bad_reference", "must be followed by the name"},
		{"data: {dir: '${A B} ${SET}'}", 1, "bad_reference", "must be followed by the name"},
		{"modules: {overrides: {blog: {config: {a: ['${PD_UNSET}']}}}}", 1, "unset_variable", "`modules.overrides.blog.config.a[0]`"},
		{"database: {maxConns: '${SET}'}", 1, "bad_type", `"set" is not a whole number`},
	})
}

func TestDatabaseURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://h/d", "postgresql://u:p@h:5433/d?sslmode=verify-full", "postgres://[::1]/d",
		"postgres://u@/d?host=/var/run/postgresql", "postgres:///d?host=h&port=1",
	} {
		c, err := load(t, "database: {url: '"+url+"', isolation: schema}")
		require.NoError(t, err, url)
		require.Equal(t, url, c.Database.URL.Reveal())
		require.Equal(t, "schema", c.Database.Isolation)
	}
	checkBadFiles(t, []badFile{
		{"database: {url: 'mysql://u:hunter2@h/d'}", 1, "bad_url", "`database.url` is not the URL of a PostgreSQL database"},
		{"database: {url: 'host=h dbname=d'}", 1, "bad_url", "is not the URL of a PostgreSQL database"},
		{"database: {url: 'postgres://u:hunter2@h'}", 1, "bad_url", "`database.url` names no database"},
		{"database: {url: 'postgres://u:hunter2@h/'}", 1, "bad_url", "`database.url` names no database"},
		{"database: {url: 'postgres:///d'}", 1, "bad_url", "`database.url` names no server"},
		{"database: {url: 'postgres://u:hunter2%@h/d'}", 1, "bad_url", "`database.url` is not a URL"},
		{"database: {url: 'postgres://u:hunt#er2@h/d'}", 1, "bad_url", "`database.url`"},
		{"database: {url: 'postgres://h/d#x'}", 1, "bad_url", "must have no fragment"},
		{"database: {url: 'postgres://h:99999/d'}", 1, "out_of_range", "port 99999 is out of range"},
	})
}

func TestExpansion(t *testing.T) {
	t.Parallel()
	env := []string{"DIR=/srv", "EMPTY=", "N=7", "T=3s", "ON=false", "RAW=${DIR}$$", "_x1=y"}
	c, err := load(t, `
data: { dir: "${DIR}/a$$b$c${EMPTY}" }
modules: { dir: "${RAW}", requireSigned: "${ON}", overrides: { blog: { config: { n: "${N}", "${N}": "$${_x1}${_x1}" } } } }
database:
  maxConns: ${N}
  moduleMaxConns: "${N}"
server: { holdTimeout: "${T}" }
`, env...)
	require.NoError(t, err)
	require.Equal(t, "/srv/a$b$c", c.Data.Dir)
	require.Equal(t, "${DIR}$$", c.Modules.Dir, "what a variable holds is not expanded again")
	require.Equal(t, map[string]any{"n": "7", "${N}": "${_x1}y"}, c.Modules.Overrides["blog"].Config)
	require.Equal(t, 7, c.Database.MaxConns)
	require.Equal(t, 7, c.Database.ModuleMaxConns)
	require.Equal(t, 3*time.Second, c.Server.HoldTimeout)
}

func TestAllErrorsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := load(t, "servr: {}\nlog: {level: 5}\n", "PLATFORMD_SERVER_HOLDTIMEOUT=5")
	var errs Errors
	require.ErrorAs(t, err, &errs)
	require.Len(t, errs, 3)

	_, err = load(t, `
server: { listen: ":70000" }
modules:
  overrides: { d: {}, bb: { restart: { max: 0 } }, cc: { restart: { max: 0 } }, aa: { restart: { max: 0, window: 0s } } }
log: { level: loud, format: loud }
`)
	require.ErrorAs(t, err, &errs)
	var keys []string
	for _, e := range errs {
		keys = append(keys, e.Key)
	}
	require.Equal(t, []string{"log.format", "log.level", "modules.overrides.aa.restart.max", "modules.overrides.aa.restart.window",
		"modules.overrides.bb.restart.max", "modules.overrides.cc.restart.max", "modules.overrides.d", "server.listen"}, keys)

	_, err = load(t, strings.Repeat("x", 1)+"1: 1\n"+manyKeys(30))
	require.ErrorContains(t, err, "and 11 more")
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "key%d: 1\n", i)
	}
	return b.String()
}

// A FIFO as config.yaml is refused at once: it would block whoever opens it.
func TestFIFO(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	_, err := Load(Options{Path: path, Env: []string{}})
	requireOne(t, err, "unreadable", "not a regular file")
}

// FuzzLoad checks that no file makes us panic, and that what is accepted can be printed and read back.
func FuzzLoad(f *testing.F) {
	data, err := os.ReadFile(shipped)
	require.NoError(f, err)
	for _, seed := range []string{string(data), "a: [{b: *c}, !!x y]",
		"modules: {overrides: {blog: {config: {a: ${X}, b: [1, .5, '$$']}}}}",
		"server: {listen: ':1', holdTimeout: 1h, cors: {origins: ['*']}}", "? {a: b}\n: - c\n", "database: {url: 'a://b:c@d'}",
		"cache: {url: 'redis://:p@h:1/2?db=3'}\naudit: {retention: 24h}",
		provider("clientSecret: 'a${X}', scopes: [a], roleClaim: '${X}', roles: {b: [c, d]}")} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l := loader{config: Default(), env: map[string]string{"X": "$${y"}, origins: origins{}}
		l.parse("config.yaml", data, 0o600)
		if len(l.errs) > 0 || check(&l.config, l.origins) != nil {
			_ = l.errs.Error()
			return
		}
		text, err := l.config.YAML()
		require.NoError(t, err)
		again := loader{config: Default(), origins: origins{}, env: map[string]string{}}
		again.parse("printed", text, 0o600)
		require.Empty(t, again.errs, "%s", text)
		reprinted, err := again.config.YAML()
		require.NoError(t, err)
		require.Equal(t, string(text), string(reprinted))
	})
}

package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// lumberjack keeps one goroutine per file for ever, Close or not.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

// output is a buffer that several goroutines may write.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func newLog(t *testing.T, o Options) (*Log, *output) {
	t.Helper()
	out := &output{}
	o.Output = out
	l, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l, out
}

func messages(entries []Entry) []string {
	var all []string
	for _, e := range entries {
		all = append(all, e.Message)
	}
	return all
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, bad := range []Options{{Level: "loud"}, {Level: "off"}, {Format: "xml"}} {
		_, err := New(bad)
		require.ErrorContains(t, err, "use ")
	}
	for _, level := range []string{"trace", "debug", "info", "warn", "error"} {
		l, _ := newLog(t, Options{Level: level})
		require.Equal(t, level, l.Logger.GetLevel().String())
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	for format, isJSON := range map[string]bool{"": true, "auto": true, "json": true, "text": false} {
		l, out := newLog(t, Options{Format: format})
		l.Logger.Named("gateway").Info("listening", "address", ":8080")
		if isJSON {
			var record map[string]any
			require.NoError(t, json.Unmarshal([]byte(out.String()), &record))
			require.Equal(t, "listening", record["@message"])
			require.Equal(t, "gateway", record["@module"])
		} else {
			require.Contains(t, out.String(), "[INFO]  gateway: listening: address=:8080")
			require.NotContains(t, out.String(), "\x1b", "colors are for terminals")
		}
	}
}

func TestModulesAreTold(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][2]string{
		"": {"core", ""}, "gateway": {"core", "gateway"}, "gateway.tls": {"core", "gateway.tls"}, "module": {"core", "module"},
		"module.blog": {"blog", ""}, "module.blog.stdio.x": {"blog", "stdio.x"}, "module.blog_2": {"blog_2", ""},
		"module.core": {"core", "module.core"}, "module.../../etc": {"core", "module.../../etc"},
		"module.Blog":                       {"core", "module.Blog"},
		"module." + strings.Repeat("a", 50): {"core", "module." + strings.Repeat("a", 50)},
	} {
		module, rest := split(name)
		require.Equal(t, want, [2]string{module, rest}, name)
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	l, _ := newLog(t, Options{Level: "debug", Ring: 3})
	blog, hello := l.Logger.Named("module.blog"), l.Logger.Named("module.hello")
	before := time.Now()
	for i := range 5 {
		blog.Info(fmt.Sprint("blog ", i))
		hello.Debug(fmt.Sprint("hello ", i))
		l.Logger.Trace("below the level")
	}
	l.Logger.Error("core")
	for _, test := range []struct {
		filter Filter
		want   []string
	}{
		{Filter{}, []string{"blog 2", "hello 2", "blog 3", "hello 3", "blog 4", "hello 4", "core"}},
		{Filter{Module: "blog"}, []string{"blog 2", "blog 3", "blog 4"}},
		{Filter{Module: Core}, []string{"core"}},
		{Filter{Module: "absent"}, nil},
		{Filter{N: 2}, []string{"hello 4", "core"}},
		{Filter{N: -1}, nil},
		{Filter{Level: hclog.Info, N: 2}, []string{"blog 4", "core"}},
		{Filter{Level: hclog.Error}, []string{"core"}},
		{Filter{Since: time.Now().Add(time.Hour)}, nil},
		{Filter{Since: before, Module: "hello", N: 1}, []string{"hello 4"}},
	} {
		require.Equal(t, test.want, messages(l.Store.Tail(test.filter)), "%+v", test.filter)
	}
}

// A module that logs little is not pushed out by one that logs much, and the one that logs much is bounded in bytes.
func TestRingIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	l, _ := newLog(t, Options{})
	l.Logger.Named("module.quiet").Info("here")
	for range 30 {
		l.Logger.Named("module.loud").Info(strings.Repeat("x", 60<<10))
	}
	require.Len(t, l.Store.Tail(Filter{Module: "quiet"}), 1)
	kept := l.Store.Tail(Filter{Module: "loud"})
	require.InDelta(t, ringBytes/(60<<10), len(kept), 1)
	l.Logger.Named("module.loud").Info(strings.Repeat("x", 2*ringBytes))
	require.Len(t, l.Store.Tail(Filter{Module: "loud"}), 1, "the newest stays, whatever its size")
}

type panicky struct{}

func (panicky) String() string { panic("no") }

func TestFieldsAreJSON(t *testing.T) {
	t.Parallel()
	l, _ := newLog(t, Options{Ring: 10})
	shared := map[string]any{"a": []int{1}}
	l.Logger.With("with", 1).Info("m", "text", "a\xffb", "error", errors.New("bad"), "for", 5*time.Second,
		"inf", math.Inf(1), "f", 1.5, "map", shared, "chan", make(chan int), "format", hclog.Fmt("%d%%", 5),
		"raw", json.RawMessage(`{"x":1}`), 7, "seven", "nil", nil, "odd")
	shared["a"] = "changed"
	l.Store.add(newEntry(time.Now(), "", []any{"p", panicky{}}))
	entries := l.Store.Tail(Filter{})
	require.Regexp(t, "^0x", entries[0].Fields["chan"])
	delete(entries[0].Fields, "chan")
	require.Equal(t, map[string]any{"with": 1, "text": "a\uFFFDb", "error": "bad", "for": "5s", "inf": "+Inf", "f": 1.5,
		"map": map[string]any{"a": []any{1.0}}, "format": "5%", "raw": map[string]any{"x": 1.0},
		"7": "seven", "nil": nil, "EXTRA_VALUE_AT_END": "odd"}, entries[0].Fields)
	require.Equal(t, map[string]any{"p": "!PANIC logs.panicky"}, entries[1].Fields)
	for _, e := range entries {
		var again Entry
		require.NoError(t, json.Unmarshal(e.line(), &again))
		require.Equal(t, e.Message, again.Message)
		require.True(t, e.Time.Equal(again.Time))
	}
	unfit := Entry{Message: "kept", Fields: map[string]any{"f": math.NaN()}}
	require.Contains(t, string(unfit.line()), `"message":"kept"`)
}

func TestEntryString(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	e := Entry{Time: at, Level: "warn", Module: "blog", Name: "db", Message: "slow\x1b[2J\nquery", Lost: 3,
		Fields: map[string]any{"n": 1, "sql": "select \"x\"", "z\u202e": []any{"\x07"}, "empty": "", "bad": math.NaN()}}
	require.Equal(t, `(3 records lost) 2026-01-02T03:04:05.006Z [WARN]  blog.db: slow\x1b[2J\nquery bad=NaN empty="" n=1 `+
		`sql="select \"x\"" z\u202e=["\u0007"]`, e.String())
	e = Entry{Time: at.Truncate(time.Second), Level: "error", Module: Core, Message: "m"}
	require.Equal(t, "2026-01-02T03:04:05.000Z [ERROR] core: m", e.String())
}

func TestNeutral(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain ~ text": "plain ~ text", "": "", "zürich 東京\u3000\u00a0 👍": "zürich 東京\u3000\u00a0 👍",
		"\x1b]0;title\x07": `\x1b]0;title\a`, "a\r\nb\tc": `a\r\nb\tc`, "\x7f\u0085\u009b2J": `\x7f\u0085\u009b2J`,
		"\u202etxt\u2066":    `\u202etxt\u2066`,
		"\xff\xfe ok \uFFFD": "\\xff\\xfe ok \uFFFD", "\u2028\ufeff": `\u2028\ufeff`, "\U000e0001": `\U000e0001`,
	} {
		require.Equal(t, want, Neutral(in))
	}
	require.Equal(t, "a\tb\\n", neutral("a\tb\n", "\t"))
}

func TestFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data", "logs")
	l, _ := newLog(t, Options{Dir: dir})
	require.NoDirExists(t, dir, "nothing is made before there is something to write")
	l.Logger.Named("module.blog.http").Warn("slow", "ms", 12)
	l.Logger.Named("gateway").Info("listening")
	l.Logger.Debug("below the level")
	require.NoError(t, l.Close())
	l.Logger.Info("after the end")

	var e Entry
	data, err := os.ReadFile(filepath.Join(dir, "blog.log"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &e))
	want := Entry{Time: e.Time, Level: "warn", Module: "blog", Name: "http", Message: "slow", Fields: map[string]any{"ms": 12.0}}
	require.Equal(t, want, e)
	data, err = os.ReadFile(filepath.Join(dir, "core.log"))
	require.NoError(t, err)
	require.Equal(t, 1, bytes.Count(data, []byte("\n")))

	requireMode(t, dir, 0o700)
	requireMode(t, filepath.Join(dir, "blog.log"), 0o600)
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 2)
}

func requireMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, want, info.Mode().Perm(), path)
}

func TestFilesAreRotated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &files{dir: dir}
	line := append(bytes.Repeat([]byte("x"), 1<<20-1), '\n')
	for range 5 * fileMiB {
		require.NoError(t, f.write("blog", line))
	}
	require.NoError(t, f.close())
	require.Eventually(t, func() bool {
		names, err := filepath.Glob(filepath.Join(dir, "blog*.log"))
		return err == nil && len(names) == 1+fileBackups
	}, 10*time.Second, 10*time.Millisecond, "three files are left")
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	for _, name := range names {
		requireMode(t, name, 0o600)
	}
}

// A log file that cannot be written is said once in the log itself, and stops nothing.
func TestUnwritableFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	dir := filepath.Join(file, "logs")
	l, out := newLog(t, Options{Dir: dir})
	for i := range 3 {
		l.Logger.Info(fmt.Sprint("record ", i))
	}
	entries := l.Store.Tail(Filter{})
	require.Len(t, entries, 4)
	require.Equal(t, "error", entries[1].Level)
	require.Contains(t, entries[1].Message, "write the log file of core: ")
	require.Contains(t, entries[1].Message, dir)
	require.Equal(t, 3, strings.Count(out.String(), "record "))

	require.NoError(t, os.Remove(file))
	l.Logger.Info("it works again")
	require.NoError(t, os.RemoveAll(file))
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.Error(t, l.files.write(Core, make([]byte, fileMiB<<20)), "the file is full, and this is a new failure")
}

func TestTheConsoleIsNotStored(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	l, err := New(Options{Output: &out, Dir: t.TempDir()})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	l.Console.Warn("a secret link", "open", "https://x")
	l.Logger.Info("said to all")
	require.Contains(t, out.String(), "a secret link")
	require.Contains(t, out.String(), "said to all")
	entries := l.Store.Tail(Filter{N: 10})
	require.Len(t, entries, 1)
	require.Equal(t, "said to all", entries[0].Message)
}

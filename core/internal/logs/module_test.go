package logs

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
)

func TestParseModuleLine(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		line    string
		level   hclog.Level
		message string
		fields  []any
	}{
		// JSON.
		{`{"@level":"warn","@message":"slow","@module":"blog.db","@timestamp":"2026-01-02T03:04:05.000000Z","ms":12,"ok":true}`,
			hclog.Warn, "slow", []any{"logger", "blog.db", "ms", int64(12), "ok", true}},
		{`{"time":"2026-01-02T03:04:05Z","level":"ERROR","msg":"from slog","n":1.5}` + "\r\n",
			hclog.Error, "from slog", []any{"n", 1.5}},
		{`{"severity":"critical","message":"from elsewhere"}`, hclog.Error, "from elsewhere", []any{}},
		{`{"level":30,"msg":"from pino"}`, hclog.Info, "from pino", []any{"level", int64(30)}},
		{`{"@level":5,"@message":{"a":"b"},"@timestamp":false}`, hclog.Info, "",
			[]any{"level", int64(5), "message", map[string]any{"a": "b"}, "timestamp", false}},
		{`{"@level":"off","@message":"m"}`, hclog.Info, "m", []any{}},
		{`{"@level":["x"],"level":"debug"}`, hclog.Debug, "", []any{"level", []any{"x"}}},
		{`{"big":123456789012345678901234567890,"huge":1e999999,"neg":-9223372036854775808}`, hclog.Info, "",
			[]any{"big", 123456789012345678901234567890.0, "huge", "1e999999", "neg", int64(-9223372036854775808)}},
		{`{"nested":{"a":[1,{"b":null}]}}`, hclog.Info, "",
			[]any{"nested", map[string]any{"a": []any{int64(1), map[string]any{"b": nil}}}}},
		{`{"@":1,"@@module":"core"}`, hclog.Info, "", []any{"_", int64(1), "module", "core"}},
		{"{\"@message\":\"a\xffb\\u001b[2J\\nc\\td\"}", hclog.Info, "a\uFFFDb\\x1b[2J\\nc\td", []any{}},
		{`{"trace":"a\nb\u001b","k\u001b":["\u001b\n"],"o":{"\u0007":"\n"}}`, hclog.Info, "",
			[]any{"k\\x1b", []any{`\x1b\n`}, "o", map[string]any{`\a`: `\n`}, "trace", "a\nb\\x1b"}},
		{`{}`, hclog.Info, "", []any{}},

		// Not JSON after all.
		{`{"a":1} trailing`, hclog.Info, `{"a":1} trailing`, nil},
		{`{"a":`, hclog.Info, `{"a":`, nil},
		{`["a"]`, hclog.Info, `["a"]`, nil},
		{strings.Repeat(`{"a":`, 20000), hclog.Info, strings.Repeat(`{"a":`, 20000), nil},

		// Text.
		{"plain text", hclog.Info, "plain text", nil},
		{"", hclog.Info, "", nil},
		{"[DEBUG] connected", hclog.Debug, "connected", nil},
		{"[WARN]  two spaces", hclog.Warn, "two spaces", nil},
		{"[ERR]: redis style", hclog.Error, "redis style", nil},
		{"2026-01-02T03:04:05.000Z [TRACE] blog: k=v", hclog.Trace, "blog: k=v", nil},
		{"2026/01/02 03:04:05 [error] from the log package", hclog.Error, "from the log package", nil},
		{"[note] not a level", hclog.Info, "[note] not a level", nil},
		{"\x1b[31mred\x1b[0m \xff\x00", hclog.Info, `\x1b[31mred\x1b[0m \xff\x00`, nil},

		// A Go panic.
		{"panic: runtime error: index out of range", hclog.Error, "panic: runtime error: index out of range", nil},
		{"fatal error: all goroutines are asleep - deadlock!", hclog.Error, "fatal error: all goroutines are asleep - deadlock!", nil},
		{"goroutine 1 [running]:", hclog.Error, "goroutine 1 [running]:", nil},
		{"[signal SIGSEGV: segmentation violation code=0x1]", hclog.Error, "[signal SIGSEGV: segmentation violation code=0x1]", nil},
	} {
		level, message, fields := ParseModuleLine([]byte(test.line))
		require.Equal(t, test.level, level, test.line)
		require.Equal(t, test.message, message, test.line)
		require.Equal(t, test.fields, fields, test.line)
	}
}

// A module's output can neither write to the operator's terminal nor pose as a record of somebody else's.
func TestModuleWriterIsHarmless(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		l, out := newLog(t, Options{Format: format})
		w := NewModuleWriter(l.Logger.Named("module.evil"), NewThrottle())
		for _, line := range []string{
			`{"@message":"x","@module":"core","@level":"error","@timestamp":5}`, "\x1b]0;owned\x07",
			`{"a":["\u001b[2J\n2026 [INFO] core: fake"]}`,
			`{"a\n2026 [INFO]  core: fake":"b","c":{"d":"\n2026 [INFO]  core: fake"}}`,
			`{"@message":"x\n2026 [INFO]  core: fake"}`, "a\r2026 [INFO]  core: fake",
			`{"multi":"\n2026 [INFO]  core: fake\u001b"}`,
		} {
			_, err := fmt.Fprintln(w, line)
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		require.NotContains(t, out.String(), "\x1b")
		require.NotContains(t, out.String(), "\r")
		for _, line := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
			require.NotRegexp(t, `^2026 \[`, line)
			if format == "json" {
				var record map[string]any
				require.NoError(t, json.Unmarshal([]byte(line), &record))
				require.Equal(t, "module.evil", record["@module"])
			}
		}
		for _, e := range l.Store.Tail(Filter{}) {
			require.Equal(t, "evil", e.Module)
			require.NotContains(t, e.String(), "\n")
		}
	}
}

func TestPanicsAreErrorsToTheLastLine(t *testing.T) {
	t.Parallel()
	l, _ := newLog(t, Options{})
	w := NewModuleWriter(l.Logger.Named("module.blog"), NewThrottle())
	_, err := w.Write([]byte(`before
panic: oh no

goroutine 1 [running]:
main.main()
	/src/main.go:5 +0x1d

after
goroutine 7 [chan receive, 3 minutes]:
net/http.(*conn).serve(0x1)
{"@level":"info","@message":"recovered"}
still up
goroutine 8 [select (no cases)]:
[INFO] recovered
still up
`))
	require.NoError(t, err)
	var levels []string
	for _, e := range l.Store.Tail(Filter{}) {
		levels = append(levels, e.Level)
	}
	want := "info error error error error info error error info info error info info"
	require.Equal(t, want, strings.Join(levels, " "))
}

func FuzzParseModuleLine(f *testing.F) {
	for _, seed := range []string{`{"@level":5,"@message":null,"a":{"b":[1e999,"\u001b"]}}`,
		"[WARN] x", "panic: x", "{\"\xff\":\"\\ud800\"}", "\x1b[2J"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		level, message, fields := ParseModuleLine(line)
		require.GreaterOrEqual(t, level, hclog.Trace)
		require.LessOrEqual(t, level, hclog.Error)
		require.True(t, isHarmless(message, "\t"), "%q", message)
		require.Zero(t, len(fields)%2)
		for i := 0; i < len(fields); i += 2 {
			name, is := fields[i].(string)
			require.True(t, is)
			require.False(t, strings.HasPrefix(name, "@"))
			require.True(t, isHarmless(name, ""), "%q", name)
		}
		e := newEntry(time.Now(), "module.blog", fields)
		e.Message = message
		require.True(t, isHarmless(e.String(), ""), "%q", e.String())
		var again Entry
		require.NoError(t, json.Unmarshal(e.line(), &again))
		require.Equal(t, e.Message, again.Message)
	})
}

// isHarmless is written unlike Neutral on purpose.
func isHarmless(text, except string) bool {
	if !utf8.ValidString(text) {
		return false
	}
	dangerous := [][2]rune{{0, 0x1f}, {0x7f, 0x9f}, {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2066, 0x2069}}
	for _, r := range text {
		for _, span := range dangerous {
			if r >= span[0] && r <= span[1] && !strings.ContainsRune(except, r) {
				return false
			}
		}
	}
	return true
}

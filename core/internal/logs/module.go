package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// ParseModuleLine turns one line that a module wrote to stderr into a record for Logger.Log: JSON as hclog, slog, zap and
// the like write it, text with or without a [LEVEL], or a part of a Go panic. fields alternates names and values; it is
// nil for text. The line is untrusted: whatever it holds, the result cannot act on a terminal, forge a record or pose as
// the core's, and its values have a form in JSON.
func ParseModuleLine(line []byte) (level hclog.Level, message string, fields []any) {
	line = bytes.TrimRight(line, "\r\n")
	if record := parseObject(line); record != nil {
		return fromObject(record)
	}
	level, text := textLevel(string(line))
	return level, neutral(text, "\t"), nil
}

// parseObject returns nil if the line is not one JSON object and nothing else.
func parseObject(line []byte) map[string]any {
	if trimmed := bytes.TrimSpace(line); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	var record map[string]any
	if dec.Decode(&record) != nil {
		return nil
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil
	}
	return record
}

// fromObject takes level, message and time from where the usual loggers put them; the rest are fields.
func fromObject(record map[string]any) (level hclog.Level, message string, fields []any) {
	level = hclog.Info
	if word, found := take(record, "@level", "level", "severity"); found {
		level = levelOf(word)
	}
	message, _ = take(record, "@message", "message", "msg")
	_, _ = take(record, "@timestamp", "time", "timestamp", "ts") // the record gets the core's time, a moment later
	fields = make([]any, 0, 2*len(record))
	for _, name := range slices.Sorted(maps.Keys(record)) {
		fields = append(fields, fieldName(name), plain(record[name]))
	}
	return level, neutral(message, "\t"), fields
}

// take removes the first of the names from the record, if its value is text. What is not text stays a field.
func take(record map[string]any, names ...string) (text string, found bool) {
	for _, name := range names {
		if text, found = record[name].(string); found {
			delete(record, name)
			return text, true
		}
	}
	return "", false
}

// fieldName takes the @ off: names with it are hclog's own, and @module would let a module pose as another.
func fieldName(name string) string {
	if name == "@module" {
		return "logger"
	}
	if name = strings.TrimLeft(name, "@"); name == "" {
		return "_"
	}
	return neutral(name, "")
}

// plain returns a value that was read from JSON with numbers that every reader of JSON can read, and with neutral text.
func plain(v any) any {
	switch v := v.(type) {
	case string:
		return neutral(v, "\t\n")
	case json.Number:
		return number(v)
	case []any:
		for i, item := range v {
			v[i] = plain(neutralLines(item))
		}
		return v
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, item := range v {
			out[neutral(name, "")] = plain(neutralLines(item))
		}
		return out
	default:
		return v // bool or nil
	}
}

// neutralLines makes the line ends in text visible: hclog prints text inside a list or an object as it is.
func neutralLines(v any) any {
	if text, is := v.(string); is {
		return neutral(text, "\t")
	}
	return v
}

func number(n json.Number) any {
	if i, err := n.Int64(); err == nil {
		return i
	}
	if f, err := n.Float64(); err == nil && !math.IsInf(f, 0) {
		return f
	}
	return n.String()
}

// levelOf understands the names that common loggers use.
func levelOf(word string) hclog.Level {
	switch strings.ToLower(strings.TrimSpace(word)) {
	case "trace":
		return hclog.Trace
	case "debug":
		return hclog.Debug
	case "warn", "warning":
		return hclog.Warn
	case "error", "err", "fatal", "panic", "dpanic", "critical", "crit", "alert", "emergency":
		return hclog.Error
	default:
		return hclog.Info
	}
}

var (
	bracketed = regexp.MustCompile(`^(?:\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d\S* +)?\[([A-Za-z]+)\]:? *(.*)$`)
	levelWord = regexp.MustCompile(`^(?i:trace|debug|info|notice|warn|warning|error|err|fatal|panic|critical)$`)
	goPanic   = regexp.MustCompile(`^(?:panic: |fatal error: |runtime: |goroutine \d+ .*\[.*\]:$|SIG[A-Z]+: |\[signal SIG)`)
)

// textLevel reads "[WARN] text", with or without a time before it, and what the Go runtime prints when it gives up.
func textLevel(text string) (hclog.Level, string) {
	if goPanic.MatchString(text) {
		return hclog.Error, text
	}
	if found := bracketed.FindStringSubmatch(text); found != nil && levelWord.MatchString(found[1]) {
		return levelOf(found[1]), found[2]
	}
	return hclog.Info, text
}

// NewModuleWriter returns a writer for a module's stderr: it logs each line with log, as ParseModuleLine reads it, as far as
// the module's throttle allows. The lines below a panic are its stack trace, and are logged at level error like it. Empty
// lines are left out.
func NewModuleWriter(log hclog.Logger, throttle *Throttle) io.WriteCloser {
	inTrace := false
	lines := NewLineWriter(func(line []byte) {
		if len(bytes.TrimSpace(line)) == 0 {
			inTrace = false // the next goroutine of the trace begins with a line that is known
			return
		}
		if !throttle.admit(log, line) {
			return
		}
		level, message, fields := ParseModuleLine(line)
		switch {
		case goPanic.Match(line):
			inTrace = true
		case fields != nil || bracketed.Match(line):
			inTrace = false
		case inTrace:
			level = hclog.Error
		}
		log.Log(level, message, fields...)
	})
	return &moduleWriter{LineWriter: lines, log: log, throttle: throttle}
}

type moduleWriter struct {
	*LineWriter
	log      hclog.Logger
	throttle *Throttle
}

// Write implements io.Writer. It blocks while the module prints more than anybody could read.
func (w *moduleWriter) Write(p []byte) (int, error) {
	n, err := w.LineWriter.Write(p)
	w.throttle.holdBack(len(p))
	return n, err
}

// Close hands on the last line, and says what was dropped.
func (w *moduleWriter) Close() error {
	err := w.LineWriter.Close()
	w.throttle.flush(w.log)
	return err
}

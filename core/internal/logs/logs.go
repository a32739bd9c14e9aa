// Package logs (floor F0) is the daemon's log: where records go, what is kept of them, and how the output of a module
// becomes a record.
//
// It must not interpret what is logged, and knows a module only by its name. It imports no other package of the core.
package logs

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/mattn/go-isatty"
)

// Core is the module of every record that no module's logger wrote.
const Core = "core"

// Options configure New. The zero value logs at level info to stderr, and keeps no files.
type Options struct {
	// Level is the least severe level that is logged: trace, debug, info, warn or error. Empty = info.
	Level string
	// Format is auto (text on a terminal, JSON elsewhere), text or json. Empty = auto.
	Format string
	// Output is where the records go, apart from the store and the files. nil = stderr.
	Output io.Writer
	// Dir is the directory of the files, one per module: made when the first record is written. Empty = no files.
	Dir string
	// Ring is how many records are kept in memory per module. 0 = 1000.
	Ring int
}

// Log is the root logger and what it has logged.
type Log struct {
	// Logger is for everybody. A module's logger is Logger.Named("module.NAME").
	Logger hclog.InterceptLogger
	// Console goes to the output alone: for what whoever watches the start should see, and nobody should find later.
	Console hclog.Logger
	// Store holds the newest records.
	Store *Store

	files *files
}

// New returns a log. The caller must Close it after the last record.
func New(o Options) (*Log, error) {
	level := hclog.Info
	if o.Level != "" {
		level = hclog.LevelFromString(o.Level)
	}
	if level == hclog.NoLevel || level == hclog.Off {
		return nil, fmt.Errorf("open the log: %q is not a level; use trace, debug, info, warn or error", o.Level)
	}
	if o.Output == nil {
		o.Output = os.Stderr
	}
	text, color, err := style(o.Format, o.Output)
	if err != nil {
		return nil, err
	}
	options := hclog.LoggerOptions{
		Level: level, Output: o.Output, JSONFormat: !text, Color: color, ColorHeaderOnly: true, Mutex: new(sync.Mutex),
	}
	root := hclog.NewInterceptLogger(&options)
	l := &Log{Logger: root, Console: hclog.New(&options), Store: newStore(o.Ring), files: &files{dir: o.Dir}}
	root.RegisterSink(&sink{root: root, store: l.Store, files: l.files})
	return l, nil
}

// style decides between text and JSON, and whether text has colors.
func style(format string, out io.Writer) (text bool, color hclog.ColorOption, err error) {
	onTerminal := isTerminal(out)
	switch format {
	case "auto", "":
		text = onTerminal
	case "text":
		text = true
	case "json":
	default:
		return false, hclog.ColorOff, fmt.Errorf("open the log: %q is not a format; use auto, text or json", format)
	}
	if text && onTerminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		return text, hclog.ForceColor, nil
	}
	return text, hclog.ColorOff, nil
}

func isTerminal(out io.Writer) bool {
	file, is := out.(interface{ Fd() uintptr })
	return is && isatty.IsTerminal(file.Fd())
}

// Close ends every follower and closes the files. What is logged after it goes to the output only.
func (l *Log) Close() error {
	l.Store.close()
	return l.files.close()
}

// sink hands what the loggers log to the store and to the files.
type sink struct {
	root  hclog.Logger
	store *Store
	files *files
}

// Accept implements hclog.SinkAdapter. hclog calls it for records below the logger's level too, one call at a time.
func (s *sink) Accept(name string, level hclog.Level, message string, args ...any) {
	if level < s.root.GetLevel() {
		return
	}
	e := newEntry(time.Now(), name, args)
	e.Level, e.Message = level.String(), validText(message)
	line := e.line()
	e.size = len(line)
	s.store.add(e)
	if err := s.files.write(e.Module, line); err != nil {
		// Logging it would lead back here; whoever reads the log should know nevertheless.
		s.store.add(Entry{
			Time: e.Time, Level: hclog.Error.String(), Module: Core, Name: "logs", Message: validText(err.Error()), size: len(err.Error()),
		})
	}
}

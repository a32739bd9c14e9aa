package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/platformd/platformd/core/internal/logs"
)

const (
	keptCrashes = 5   // of a module
	keptRecords = 200 // of the log, with each crash
)

// Crash is what is kept of an instance's unwanted end, or of a launch that failed.
type Crash struct {
	At time.Time `json:"at"`
	// PID is 0 if the launch failed.
	PID int `json:"pid,omitempty"`
	// Reason is why: "exit 2", "signal killed", "oom", "health timeout", "handshake: …".
	Reason string `json:"reason"`
	// Exit is how the process ended; it differs from Reason where the core ended it.
	Exit string `json:"exit,omitempty"`
	// UptimeMillis is how long it had been running; 0 if it never was ready.
	UptimeMillis int64 `json:"uptime_ms"`
	// InFlight counts the requests that it was working on.
	InFlight int64 `json:"in_flight"`
	// Restarts counts the module's relaunches, the one that followed included.
	Restarts int `json:"restarts"`
	// Log holds the last records of the module, at most 200, oldest first.
	Log []logs.Entry `json:"log"`
}

// dossiers keep a module's last crashes, also across runs of the core. Safe for concurrent use.
type dossiers struct {
	file string // empty: in memory only
	log  hclog.Logger

	mu      sync.Mutex
	crashes []Crash // oldest first
}

// CrashFile is where the crashes of a module are kept below CrashDir.
func CrashFile(dir, module string) string { return filepath.Join(dir, module+".json") }

// openDossiers reads what an earlier run left; a file that cannot be read is said, and begun anew.
func openDossiers(dir, module string, log hclog.Logger) *dossiers {
	d := &dossiers{log: log}
	if dir == "" {
		return d
	}
	d.file = CrashFile(dir, module)
	content, err := os.ReadFile(d.file)
	if errors.Is(err, fs.ErrNotExist) {
		return d
	}
	if err == nil {
		err = json.Unmarshal(content, &d.crashes)
	}
	if err != nil {
		log.Warn("the record of earlier crashes cannot be read; a new one is begun", "file", d.file, "error", err)
		d.crashes = nil
	}
	return d
}

// add files a crash.
func (d *dossiers) add(crash Crash) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashes = append(d.crashes, crash)
	if over := len(d.crashes) - keptCrashes; over > 0 {
		d.crashes = slices.Delete(d.crashes, 0, over)
	}
	if d.file == "" {
		return
	}
	if err := d.write(); err != nil {
		d.log.Warn("a crash could not be recorded on disk", "error", err)
	}
}

// write replaces the file as a whole: a reader sees the old or the new one.
func (d *dossiers) write() error {
	content, err := json.Marshal(d.crashes)
	if err != nil {
		return fmt.Errorf("encode the crashes: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(d.file), 0o700); err != nil {
		return fmt.Errorf("make the folder of the crashes: %w", err)
	}
	next := d.file + ".new"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return fmt.Errorf("write the crashes: %w", err)
	}
	if err := os.Rename(next, d.file); err != nil {
		return fmt.Errorf("write the crashes: %w", err)
	}
	return nil
}

// list returns the crashes, the newest first.
func (d *dossiers) list() []Crash {
	d.mu.Lock()
	defer d.mu.Unlock()
	crashes := slices.Clone(d.crashes)
	slices.Reverse(crashes)
	return crashes
}

// file adds a crash with what the module logged before it. The process has ended and its output has been read.
func (r *runner) file(crash Crash) {
	crash.Log = r.deps.LogTail(r.name, keptRecords)
	r.dossiers.add(crash)
}

// fileFailedLaunch files a launch that the module is to blame for.
func (r *runner) fileFailedLaunch(err error) {
	if what, _ := classify(err); what == faultHost || unwanted(err) {
		return
	}
	r.file(Crash{At: time.Now(), Reason: err.Error(), Restarts: r.current().Restarts})
}

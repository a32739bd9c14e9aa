// Package admin (floor F4) is the administrators' HTTP API, both halves: the handler that the daemon serves on its control
// socket, and the client that the commands use. What travels between them, as JSON, are the types of this package and of the
// rooms below it. The gateway serves the same endpoints to those who hold their permissions.
//
// It must not run anything: it reads what the daemon shows it, and asks the daemon and the rooms to act. Whoever may open the
// socket may do everything, so it must not be reachable from a network. Whoever comes through the gateway cannot hand out more
// than they have. Every change is written to the audit log.
package admin

import (
	"path/filepath"
	"time"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/isolation"
	"github.com/platformd/platformd/core/internal/logs"
)

// SocketPath is where the daemon of a data directory listens.
func SocketPath(dataDir string) string { return filepath.Join(dataDir, "control.sock") }

// LockPath is the file on which the daemon of a data directory holds a lock (flock) for as long as it lives; its own pid is
// inside.
func LockPath(dataDir string) string { return filepath.Join(dataDir, "daemon.pid") }

// Info is what a daemon says about itself.
type Info struct {
	Version   string    `json:"version"`
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"started_at"`
	// URL is under which clients reach the platform; Listen is the address it is bound to.
	URL     string `json:"url"`
	Listen  string `json:"listen"`
	DataDir string `json:"data_dir"`
	// ConfigFile is empty if there is none: everything has its default.
	ConfigFile string `json:"config_file,omitempty"`
	// Database, Events and Cache name the backends in use, in words: "sqlite", "not used yet".
	Database string `json:"database"`
	Events   string `json:"events"`
	Cache    string `json:"cache"`
	// OutboxWaiting is how many events modules have put into their outboxes that the bus has not got yet.
	OutboxWaiting int64 `json:"outbox_waiting"`
	// Calls is how the calls of modules to others fare, by their names; of those that there have been.
	Calls []CallPair `json:"calls"`
	// Isolation is the best level that a module gets: "full", "landlock" or "none"; Capabilities is what led to it.
	Isolation    isolation.Level     `json:"isolation"`
	Capabilities []isolation.Finding `json:"capabilities,omitempty"`
	// Ready is what /readyz answers.
	Ready bool `json:"ready"`
	// StopMillis is the longest that a stop may take: draining, then every module's stopTimeout.
	StopMillis int64 `json:"stop_ms"`
}

// CallPair is how the calls of one module to another fare.
type CallPair struct {
	Caller     string `json:"caller"`
	Callee     string `json:"callee"`
	InProgress int    `json:"in_progress"`
	Calls      uint64 `json:"calls"`  // that have ended
	Failed     uint64 `json:"failed"` // those of them that did not end with OK
	Retries    uint64 `json:"retries"`
	// Breaker is "closed", or "open" or "half-open" while calls are not passed on since they failed.
	Breaker string `json:"breaker"`
}

// Module is one module, in whatever state it is. Nil slices and maps are sent as empty ones.
type Module struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Description string `json:"description,omitempty"`
	// State is one of the supervisor's states, such as "ready".
	State string    `json:"state"`
	Since time.Time `json:"since,omitzero"`
	// Reason says why the module is not ready, and Fix what to do about it; both are empty when it is.
	Reason string `json:"reason,omitempty"`
	Fix    string `json:"fix,omitempty"`
	// Problem is what a module that is ready says that it lacks; empty when it is well.
	Problem string `json:"problem,omitempty"`
	// NotTaken is a version on disk that was to run and does not; nil if there is none.
	NotTaken *NotTaken `json:"not_taken,omitempty"`
	// Degraded says which routes of a module that is ready are not served, and why; empty if all are.
	Degraded []string `json:"degraded,omitempty"`
	// Wanted is how many instances are to run.
	Wanted int `json:"wanted"`
	// Isolation is how far the module is kept apart; IsolationNotes says why less than others.
	Isolation      isolation.Level `json:"isolation,omitempty"`
	IsolationNotes []string        `json:"isolation_notes,omitempty"`
	// Required modules gate the platform's readiness.
	Required bool `json:"required"`
	// Restarts counts relaunches since the daemon started; StartMillis is how long the last launch took.
	Restarts    int   `json:"restarts"`
	StartMillis int64 `json:"start_ms,omitempty"`
	// Instances holds the live processes.
	Instances []Process `json:"instances"`

	Dir        string `json:"dir"`
	Executable string `json:"executable,omitempty"`
	SHA256     string `json:"sha256,omitempty"`
	// Signature is "unsigned" until modules can be signed.
	Signature   string       `json:"signature"`
	Permissions []Permission `json:"permissions"`
	Routes      []Route      `json:"routes"`
	// Requires and Optional map a module's name to the versions that will do.
	Requires map[string]string `json:"requires"`
	Optional map[string]string `json:"optional"`
	// Provides are the gRPC services that it serves; Consumes those of other modules that it calls, or SERVICE/METHOD.
	Provides []string `json:"provides"`
	Consumes []string `json:"consumes"`
}

// NotTaken is a version of a module that was to take the place of the one before, or to start, and did not.
type NotTaken struct {
	Version string    `json:"version"` // empty where the manifest cannot be read, or the module is gone
	At      time.Time `json:"at"`
	Reason  string    `json:"reason"`
	Fix     string    `json:"fix,omitempty"`
}

// ModuleChange is what became of one module in a change of what the platform consists of.
type ModuleChange struct {
	Module string `json:"module"`
	// Act is "start", "upgrade" or "stop"; empty for what was refused before anything was done.
	Act string `json:"act,omitempty"`
	// From is the version that has run until then, To the one that was to run; either may be empty.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Problem says why it was not done, and Fix what to do about it; both are empty if it was.
	Problem string `json:"problem,omitempty"`
	Fix     string `json:"fix,omitempty"`
}

// Process is one live process of a module.
type Process struct {
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"started_at"`
	SHA256    string    `json:"sha256,omitempty"`
	// Transport carries HTTP exchanges: "link" or "http/1.1".
	Transport string `json:"transport,omitempty"`
}

// Crash is an instance's unwanted end, or a launch that failed, and what led to it.
type Crash struct {
	At  time.Time `json:"at"`
	PID int       `json:"pid,omitempty"` // 0 if the launch failed
	// Reason is why: "exit 2", "signal killed", "oom", "health timeout", "handshake: …".
	Reason string `json:"reason"`
	// Exit is how the process ended; it differs from Reason where the core ended it.
	Exit         string `json:"exit,omitempty"`
	UptimeMillis int64  `json:"uptime_ms"`
	InFlight     int64  `json:"in_flight"` // requests that it was working on
	Restarts     int    `json:"restarts"`  // relaunches so far, the one that followed included
	// Log holds the module's last records, oldest first.
	Log []logs.Entry `json:"log"`
}

// Order is what an operator can have done with one module.
type Order string

// The orders. Restart renews every process without a failed request. It takes over what has changed in the module's folder, and
// so does Start where the module does not run. Enable and Disable hold after the platform's next start, too.
const (
	OrderStart   Order = "start"
	OrderStop    Order = "stop"
	OrderRestart Order = "restart"
	OrderEnable  Order = "enable"
	OrderDisable Order = "disable"
)

// Permission is something that a caller of a module may hold.
type Permission struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Roles       []string `json:"roles,omitempty"`
}

// Route is one HTTP entry of a module. Exactly one of Permission and Access is set.
type Route struct {
	ID     string `json:"id"`
	Method string `json:"method"`
	// Path is the whole pattern, such as /api/v1/blog/posts/{id}.
	Path       string   `json:"path"`
	Permission string   `json:"permission,omitempty"`
	Access     string   `json:"access,omitempty"`
	Stream     string   `json:"stream"`
	Summary    string   `json:"summary,omitempty"`
	MaxBody    int64    `json:"max_body"`             // bytes
	Timeout    int64    `json:"timeout_ms,omitempty"` // absent = no limit on the whole exchange
	Needs      []string `json:"needs,omitempty"`
}

// NewToken asks for an API token.
type NewToken struct {
	Name        string   `json:"name"`
	Permissions []string `json:"permissions"`
	// TTL is how long the token is valid, as ParseTTL reads it: "30d", "12h".
	TTL string `json:"ttl"`
	// Owner is for whom the token stands: "me", a user's id or e-mail address; empty: for itself, as a service's.
	Owner string `json:"owner,omitempty"`
}

// CreatedToken is a new token with its secret, which is shown this once.
type CreatedToken struct {
	auth.Token
	Secret string `json:"secret"`
}

// Stopping is the daemon's answer to being asked to stop.
type Stopping struct {
	PID int `json:"pid"`
	// WithinMillis is Info.StopMillis.
	WithinMillis int64 `json:"within_ms"`
}

// list is how the API sends several things, so that a later version can say more about them.
type list[T any] struct {
	Items []T `json:"items"`
}

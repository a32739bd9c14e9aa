// Package config (floor F0) reads config.yaml: the types, the defaults, the environment overrides and the rules.
//
// It must not act on a setting (open a port, a database, a log): it says what the operator wants and, where that cannot
// be, what to change. It imports no other package of the core.
package config

import (
	"maps"
	"time"

	"github.com/platformd/platformd/plugin-api/manifest"
)

// Config is the whole configuration. The json tags are the keys of config.yaml, the env tags the last part of the
// variable that overrides a key, and the validate tags its rules. A Config that Load returned is valid; treat it as
// read-only.
type Config struct {
	Server     Server     `json:"server" envPrefix:"SERVER_"`
	Data       Data       `json:"data" envPrefix:"DATA_"`
	Modules    Modules    `json:"modules" envPrefix:"MODULES_"`
	Database   Database   `json:"database" envPrefix:"DATABASE_"`
	Events     Events     `json:"events" envPrefix:"EVENTS_"`
	Cache      Cache      `json:"cache" envPrefix:"CACHE_"`
	Services   Services   `json:"services" envPrefix:"SERVICES_"`
	Supervisor Supervisor `json:"supervisor" envPrefix:"SUPERVISOR_"`
	Auth       Auth       `json:"auth" envPrefix:"AUTH_"`
	Audit      Audit      `json:"audit" envPrefix:"AUDIT_"`
	Log        Log        `json:"log" envPrefix:"LOG_"`
}

// Server is the section server.
type Server struct {
	Listen string `json:"listen" env:"LISTEN" validate:"listen"`
	// PublicURL has no trailing slash.
	PublicURL      string   `json:"publicURL" env:"PUBLICURL" validate:"omitempty,public_url"`
	TLS            TLS      `json:"tls" envPrefix:"TLS_"`
	TrustedProxies []string `json:"trustedProxies" env:"TRUSTEDPROXIES" validate:"dive,ip|cidr"`
	// MaxConnections and MaxConnectionsPerClient bound the clients' connections; 0 = no limit.
	MaxConnections          int `json:"maxConnections" env:"MAXCONNECTIONS" validate:"min=0"`
	MaxConnectionsPerClient int `json:"maxConnectionsPerClient" env:"MAXCONNECTIONSPERCLIENT" validate:"min=0"`

	CORS         CORS          `json:"cors" envPrefix:"CORS_"`
	HoldTimeout  time.Duration `json:"holdTimeout" env:"HOLDTIMEOUT" validate:"gt=0"`
	DrainTimeout time.Duration `json:"drainTimeout" env:"DRAINTIMEOUT" validate:"gt=0"`
}

// TLS is the section server.tls: both set or both empty.
type TLS struct {
	Cert string `json:"cert" env:"CERT" validate:"required_with=Key,omitempty,readable"`
	Key  string `json:"key" env:"KEY" validate:"required_with=Cert,omitempty,readable"`
}

// CORS is the section server.cors.
type CORS struct {
	Origins []string `json:"origins" env:"ORIGINS" validate:"dive,origin"`
}

// Data is the section data.
type Data struct {
	Dir string `json:"dir" env:"DIR" validate:"required"`
}

// Modules is the section modules.
type Modules struct {
	Dir           string `json:"dir" env:"DIR" validate:"required"`
	RequireSigned bool   `json:"requireSigned" env:"REQUIRESIGNED"`
	// Overrides is by module name. A name need not belong to a module that is there.
	Overrides map[string]Override `json:"overrides" env:"OVERRIDES" validate:"dive,keys,module_name,endkeys"`
}

// Override is what the operator sets for one module.
type Override struct {
	// Config holds JSON values only: map[string]any, []any, string, bool, int, int64, uint64, float64, nil.
	Config  map[string]any  `json:"config,omitempty" env:"CONFIG"`
	Restart RestartOverride `json:"restart,omitempty" envPrefix:"RESTART_"`
	Limits  Limits          `json:"limits,omitempty" envPrefix:"LIMITS_"`
	// Enabled is nil if the operator did not say.
	Enabled *bool `json:"enabled,omitempty" env:"ENABLED"`
}

// IsEnabled reports whether the operator lets the module start.
func (o Override) IsEnabled() bool { return o.Enabled == nil || *o.Enabled }

// RestartOverride is a restart policy of which each part may be left out.
type RestartOverride struct {
	Max    *int           `json:"max,omitempty" env:"MAX" validate:"omitnil,min=1"`
	Window *time.Duration `json:"window,omitempty" env:"WINDOW" validate:"omitnil,gt=0"`
}

// Apply returns base with the parts that the override sets.
func (o RestartOverride) Apply(base Restart) Restart {
	if o.Max != nil {
		base.Max = *o.Max
	}
	if o.Window != nil {
		base.Window = *o.Window
	}
	return base
}

// Limits bounds a module's processes more tightly than its manifest does; each part may be left out.
type Limits struct {
	// Memory is written as in a manifest, such as 128MiB; Bytes reads it.
	Memory    string   `json:"memory,omitempty" env:"MEMORY" validate:"omitempty,size"`
	CPU       *float64 `json:"cpu,omitempty" env:"CPU" validate:"omitnil,min=0.01"`
	PIDs      *int     `json:"pids,omitempty" env:"PIDS" validate:"omitnil,min=16"`
	OpenFiles *int     `json:"openFiles,omitempty" env:"OPENFILES" validate:"omitnil,min=64"`
	// Concurrency bounds the requests that one process has in progress.
	Concurrency *int `json:"concurrency,omitempty" env:"CONCURRENCY" validate:"omitnil,min=1"`
}

// Bytes is Memory as a number; 0 if it is not set.
func (l Limits) Bytes() int64 {
	var size manifest.Size
	if size.UnmarshalText([]byte(l.Memory)) != nil {
		return 0
	}
	return int64(size)
}

// Database is the section database. Without a URL the data lies in SQLite files.
type Database struct {
	URL            SecretURL `json:"url" env:"URL" validate:"omitempty,postgres_url"`
	MaxConns       int       `json:"maxConns" env:"MAXCONNS" validate:"min=1,max=10000"`
	ModuleMaxConns int       `json:"moduleMaxConns" env:"MODULEMAXCONNS" validate:"min=1,max=10000"`
	// Isolation is role or schema.
	Isolation string `json:"isolation" env:"ISOLATION" validate:"oneof=role schema"`
}

// Events is the section events. Without a URL the bus is embedded: events are kept in the core's database. Exchange begins the
// name of every exchange and queue.
type Events struct {
	URL      SecretURL `json:"url" env:"URL" validate:"omitempty,broker_url"`
	Exchange string    `json:"exchange" env:"EXCHANGE" validate:"exchange"`
}

// Cache is the section cache. Without a URL the cache is in the process; else the URL is one that go-redis's ParseURL reads.
type Cache struct {
	URL SecretURL `json:"url" env:"URL" validate:"omitempty,redis_url"`
}

// Services is the section services.
type Services struct {
	// Timeout is the time of a call between modules whose caller gives it none, streams apart.
	Timeout time.Duration `json:"timeout" env:"TIMEOUT" validate:"gt=0,max=1h"`
}

// Supervisor is the section supervisor.
type Supervisor struct {
	Restart Restart `json:"restart" envPrefix:"RESTART_"`
}

// Restart is a restart policy: more than Max restarts within Window is a crash loop.
type Restart struct {
	Max    int           `json:"max" env:"MAX" validate:"min=1"`
	Window time.Duration `json:"window" env:"WINDOW" validate:"gt=0"`
}

// Auth is the section auth.
type Auth struct {
	// AccessTTL has a limit because what an access token says of its user holds until it expires.
	AccessTTL  time.Duration `json:"accessTTL" env:"ACCESSTTL" validate:"gt=0,max=24h,ltefield=RefreshTTL"`
	RefreshTTL time.Duration `json:"refreshTTL" env:"REFRESHTTL" validate:"gt=0"`
	// OIDC has no two providers of one name.
	OIDC []OIDC `json:"oidc" env:"OIDC" validate:"dive"`
}

// Audit is the section audit.
type Audit struct {
	// Retention is how long audit rows are kept; 0 = for ever. A slip of the pen must not cost the log, so a day is the least.
	Retention time.Duration `json:"retention" env:"RETENTION" validate:"omitempty,min=24h"`
}

// Log is the section log.
type Log struct {
	Level  string `json:"level" env:"LEVEL" validate:"oneof=trace debug info warn error"`
	Format string `json:"format" env:"FORMAT" validate:"oneof=auto text json"`
}

// Default returns the configuration of a platformd without config.yaml: no server is needed.
func Default() Config {
	return Config{
		Server: Server{
			Listen:                  "127.0.0.1:8080",
			MaxConnections:          10_000,
			MaxConnectionsPerClient: 1000,
			HoldTimeout:             5 * time.Second,
			DrainTimeout:            15 * time.Second,
		},
		Data:       Data{Dir: "./data"},
		Modules:    Modules{Dir: "./modules"},
		Database:   Database{MaxConns: 6, ModuleMaxConns: 3, Isolation: "role"},
		Events:     Events{Exchange: "platformd"},
		Services:   Services{Timeout: 30 * time.Second},
		Supervisor: Supervisor{Restart: Restart{Max: 5, Window: 10 * time.Minute}},
		Auth:       Auth{AccessTTL: 15 * time.Minute, RefreshTTL: 720 * time.Hour},
		Log:        Log{Level: "info", Format: "auto"},
	}
}

// setOverride replaces one module's override in a map of its own, since the map may be shared with a copy of c.
func (c *Config) setOverride(module string, o Override) {
	all := maps.Clone(c.Modules.Overrides)
	if all == nil {
		all = map[string]Override{}
	}
	all[module] = o
	c.Modules.Overrides = all
}

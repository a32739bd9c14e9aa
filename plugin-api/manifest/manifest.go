// Package manifest reads module.yaml: the types, a strict parser, the rules and a JSON Schema emitted from the types.
//
// It is the contract between authors and the core, and belongs to no floor: both import it. It must not run module
// code, and must not look at anything on disk but the one file it is asked to load: whether a module fits the others
// and its own folder is the catalog's business. It alone imports yaml.v3 within plugin-api.
package manifest

// APIVersion is the only apiVersion this package reads.
const APIVersion = "platformd/v1"

// MaxSize is the largest module.yaml that is read, in bytes.
const MaxSize = 256 << 10

// Values of Route.Access.
const (
	AccessPublic        = "public"        // anybody, without credentials
	AccessAuthenticated = "authenticated" // any caller with valid credentials
)

// Values of Route.Stream.
const (
	StreamNone      = "none"      // a bounded request and a bounded answer
	StreamSSE       = "sse"       // the answer is an endless stream of events
	StreamWebSocket = "websocket" // the connection is upgraded
	StreamBody      = "body"      // large bodies, either way
)

// The values of Manifest.Migrations: functions in the module's binary, or files in its folder migrations/.
const (
	MigrationsGo  = "go"
	MigrationsSQL = "sql"
)

// The values of Runtime.Upgrade: whether processes of two versions may run at the same time.
const (
	UpgradeOverlap   = "overlap"
	UpgradeExclusive = "exclusive"
)

// Manifest is one module.yaml. What Parse and Load return has its defaults filled in and is valid; it is plain data, so
// it is safe for concurrent reading.
type Manifest struct {
	APIVersion  string       `json:"apiVersion" jsonschema:"The format of this file."`
	Name        string       `json:"name" jsonschema:"The module's name, and its permissions' prefix."`
	Version     string       `json:"version" jsonschema:"The module's semantic version, such as 0.3.0."`
	Description string       `json:"description,omitempty" jsonschema:"What the module does, for people."`
	Requires    Requires     `json:"requires,omitzero" jsonschema:"What must be there before the module can start."`
	Permissions []Permission `json:"permissions,omitempty" jsonschema:"What a caller may hold."`
	Routes      []Route      `json:"routes,omitempty" jsonschema:"The HTTP entries, below /api/v1/NAME."`
	Grants      Grants       `json:"grants,omitzero" jsonschema:"What the module may ask of the core. Absent means denied."`
	Events      Events       `json:"events,omitzero" jsonschema:"What the module tells others, and what it wants to hear."`
	Services    Services     `json:"services,omitzero" jsonschema:"What gRPC services the module offers others, and which it calls."`
	// Migrations is MigrationsGo or MigrationsSQL, or empty for a module without migrations.
	Migrations string     `json:"migrations,omitempty" jsonschema:"go: GORM functions in the binary."`
	Config     *ConfigRef `json:"config,omitempty" jsonschema:"The module's own configuration."`
	Runtime    Runtime    `json:"runtime,omitzero" jsonschema:"How the module's process is run."`
}

// Requires holds semantic version constraints.
type Requires struct {
	// Platform is empty if any platformd will do. See Manifest.SupportsPlatform.
	Platform string `json:"platform,omitempty" jsonschema:"The platformd versions the module works with."`
	// Modules and Optional map a module's name to a constraint on its version.
	Modules  map[string]string `json:"modules,omitempty" jsonschema:"Modules that must be there, and are started first."`
	Optional map[string]string `json:"optional,omitempty" jsonschema:"Modules that are started first, if they are there."`
}

// Permission is something a caller may hold.
type Permission struct {
	// Name is MODULE.RESOURCE.ACTION, where MODULE is the manifest's own name.
	Name        string   `json:"name" jsonschema:"MODULE.RESOURCE.ACTION, lower-case, with this module's name."`
	Description string   `json:"description" jsonschema:"What its holder may do, for the person who hands it out."`
	Roles       []string `json:"roles,omitempty" jsonschema:"Roles that hold it from the beginning."`
}

// Route is one HTTP entry. Exactly one of Permission and Access is set.
type Route struct {
	// ID is the name by which the module's code supplies the handler.
	ID     string `json:"id" jsonschema:"The name by which the module's code supplies the handler."`
	Method string `json:"method" jsonschema:"The HTTP method."`
	// Path is an absolute pattern below /api/v1/NAME: literal segments, {param}, and as the last segment {param...},
	// which matches one or more segments. Segments takes it apart.
	Path       string `json:"path" jsonschema:"A pattern such as /posts/{id}; the last segment may be {rest...}."`
	Permission string `json:"permission,omitempty" jsonschema:"The declared permission a caller must hold."`
	// Access is AccessPublic or AccessAuthenticated.
	Access string `json:"access,omitempty" jsonschema:"Who may call a route that needs no permission."`
	// Stream is StreamNone, StreamSSE, StreamWebSocket or StreamBody. Default: StreamNone.
	Stream  string `json:"stream,omitempty" jsonschema:"What kind of exchange it is."`
	Summary string `json:"summary,omitempty" jsonschema:"What the route does, in one line."`
	// MaxBody is the largest request body in bytes. Default: 1 MiB.
	MaxBody Size `json:"maxBody,omitempty" jsonschema:"The largest request body, such as 1MiB."`
	// Timeout limits the whole exchange. Default: 30 s for StreamNone, otherwise 0, which is no limit.
	Timeout Duration `json:"timeout,omitempty" jsonschema:"How long the whole exchange may take, such as 30s."`
	// Needs names required or optional modules without which the route answers 503.
	Needs []string `json:"needs,omitempty" jsonschema:"Modules without which the route answers 503."`
	// IdempotencyKey promises that the module carries out at most once what comes several times with one Idempotency-Key. The
	// platform then sends such a request again if the module's process ends before it has answered.
	IdempotencyKey bool `json:"idempotencyKey,omitempty" jsonschema:"Whether the route heeds Idempotency-Key headers."`
}

// ConfigRef names the schema of the module's configuration.
type ConfigRef struct {
	// Schema is a slash-separated path relative to the module's folder, and inside it.
	Schema string `json:"schema" jsonschema:"The file with the JSON Schema, relative to the module's folder."`
}

// Runtime says how the module's process is run.
type Runtime struct {
	// Executable is a slash-separated path relative to the module's folder, and inside it. Default: bin/NAME.
	Executable string `json:"executable,omitempty" jsonschema:"The binary, relative to the module's folder."`
	// Instances is how many processes run at once, between 1 and 64. Default: 1.
	Instances Amount `json:"instances,omitempty" jsonschema:"How many processes of the module run at once."`
	// StartTimeout and StopTimeout are between 100 ms and 10 min. Default: 10 s.
	StartTimeout Duration `json:"startTimeout,omitempty" jsonschema:"How long the start may take."`
	StopTimeout  Duration `json:"stopTimeout,omitempty" jsonschema:"How long draining and stopping may take."`
	// Upgrade is UpgradeOverlap or UpgradeExclusive. Default: UpgradeOverlap.
	Upgrade  string `json:"upgrade,omitempty" jsonschema:"Whether a new version starts beside the old one, or after its end."`
	Required bool   `json:"required,omitempty" jsonschema:"Whether the platform is ready only while this module is."`
	// Concurrency bounds the exchanges that one process has in progress, between 1 and 65536; more are answered with 503.
	// Streams of kind StreamSSE and StreamWebSocket do not count. Default: 256.
	Concurrency Amount `json:"concurrency,omitempty" jsonschema:"How many requests one process has in progress at most."`
	// Memory, CPU and PIDs bound what one process and its descendants use together; PIDs counts threads too. OpenFiles is per
	// process. Default: 256 MiB, 1 processor, 256 and 1024.
	Memory    Size    `json:"memory,omitempty" jsonschema:"The memory one process may use, such as 256MiB."`
	CPU       float64 `json:"cpu,omitempty" jsonschema:"The processors one process may keep busy, such as 0.5."`
	PIDs      Amount  `json:"pids,omitempty" jsonschema:"The processes and threads one process may have, itself included."`
	OpenFiles Amount  `json:"openFiles,omitempty" jsonschema:"The files and connections one process may have open."`
	// Env names variables of the core's environment that the module may see.
	Env []string `json:"env,omitempty" jsonschema:"Variables of the platform's environment that the module may see."`
	// Restart is nil unless the module differs from the operator's configuration.
	Restart *Restart `json:"restart,omitempty" jsonschema:"A restart budget that differs from the operator's."`
}

// Restart is a restart budget: at most Max restarts within Window. Max 0 means never.
type Restart struct {
	Max    int      `json:"max" jsonschema:"How many restarts are allowed within the window."`
	Window Duration `json:"window" jsonschema:"The window in which restarts are counted, such as 10m."`
}

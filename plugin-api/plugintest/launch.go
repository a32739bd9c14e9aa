package plugintest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/hashicorp/go-hclog"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/link/http1"
	"github.com/platformd/platformd/plugin-api/link/mux"
	"github.com/platformd/platformd/plugin-api/manifest"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// coreID names the connection to the core's services in InitRequest.
const coreID = 1

// launch walks the module through its life up to the point where it serves, in the core's order.
func (s *Server) launch(ctx context.Context, module pluginapi.Module, o Options) (err error) {
	if s.manifest, err = manifest.Load(o.Manifest); err != nil {
		return err
	}
	if err := s.prepare(ctx, o); err != nil {
		return err
	}
	log := hclog.New(&hclog.LoggerOptions{Name: s.manifest.Name, Level: hclog.Debug, Output: s.log})
	if s.module, err = pluginapi.NewServer(module, log, s.core.dial); err != nil {
		return err
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	if err := s.initialise(ctx); err != nil {
		return err
	}
	return s.serve(o)
}

// prepare makes what Init hands to the module.
func (s *Server) prepare(ctx context.Context, o Options) (err error) {
	if s.core, err = newCore(s.manifest, filepath.Dir(o.Manifest), o); err != nil {
		return err
	}
	if s.sockets, err = os.MkdirTemp("", "pd"); err != nil { // t.TempDir's paths may be too long for a socket
		return err
	}
	s.init = &modulev1.InitRequest{
		Name: s.manifest.Name, Version: s.manifest.Version, CoreBrokerId: coreID,
		DataSocket: filepath.Join(s.sockets, "s"), DataSecret: []byte(rand.Text()),
	}
	if err := s.prepareCalls(ctx, o); err != nil {
		return err
	}
	if s.manifest.Grants.Database {
		if s.database, err = databaseFor(s.manifest, o); err != nil {
			return err
		}
		s.init.Database = onTheWire(s.database.Work)
	}
	s.init.Config, err = encodeConfig(s.manifest, filepath.Dir(o.Manifest), o.Config)
	return err
}

// prepareCalls makes the two sockets, as far as the manifest wants them.
func (s *Server) prepareCalls(ctx context.Context, o Options) (err error) {
	for name := range o.Provide {
		if !s.manifest.DependsOn(name) || len(s.manifest.Services.Consumes) == 0 {
			return fmt.Errorf("Options.Provide: module.yaml calls nothing of %s (fix: name it under requires, and what is called under "+
				"services.consumes)", name)
		}
	}
	if len(s.manifest.Services.Provides) > 0 {
		s.init.ServicesSocket = filepath.Join(s.sockets, "p")
	}
	if len(s.manifest.Services.Consumes) > 0 {
		s.init.CallsSocket = filepath.Join(s.sockets, "c")
		s.calls, err = newCalls(ctx, s.core, s.init.GetCallsSocket(), o)
	}
	return err
}

// databaseFor is a copy: what it says of events is the manifest's.
func databaseFor(m *manifest.Manifest, o Options) (*Database, error) {
	database := fileBelow(o.Data, m.Name)
	if o.Database != nil {
		given := *o.Database
		database = &given
	}
	if len(m.Events.Publishes) > 0 && database.Outbox == nil {
		return nil, errors.New("module.yaml says that the module publishes events, and the test's database has no outbox " +
			"(fix: set Options.Database to dbtest.SQLite(t, NAME), of package plugin-api/db/dbtest)")
	}
	database.Work.Events, database.Migrations.Events = m.Events.Any(), m.Events.Any()
	return database, nil
}

// migrate runs every migration; those that the database has been through do nothing.
func (s *Server) migrate(ctx context.Context) error {
	described, err := s.module.Describe(ctx, &modulev1.DescribeRequest{Consumes: s.manifest.Services.Consumed()})
	if err != nil {
		return err
	}
	offer := manifest.Offer{
		Routes: described.GetRoutes(), Mount: described.GetMount(), Migrations: described.GetMigrations(),
		Subscriptions: described.GetSubscriptions(),
	}
	if err := s.manifest.Compare(offer); err != nil {
		return err
	}
	if s.database != nil && s.database.Work.Events && s.database.Outbox != nil {
		if err := s.database.Outbox.Create(ctx); err != nil {
			return err
		}
	}
	for _, id := range described.GetMigrations() {
		step := &modulev1.MigrateRequest{
			Database: onTheWire(s.database.Migrations), Id: id, Direction: modulev1.Direction_DIRECTION_UP,
		}
		if _, err := s.module.Migrate(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) initialise(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.manifest.Runtime.StartTimeout.Std())
	defer cancel()
	if _, err := s.module.Init(ctx, s.init); err != nil {
		return err
	}
	if err := s.compareServices(ctx); err != nil {
		return err
	}
	health, err := s.module.Health(ctx, &modulev1.HealthRequest{})
	if err == nil && health.GetProblem() != "" {
		err = fmt.Errorf("health: %s", health.GetProblem())
	}
	return err
}

// serve puts a small gateway in front of the module.
func (s *Server) serve(o Options) (err error) {
	s.link = mux.NewClient(http1.ClientConfig{Socket: s.init.GetDataSocket(), Secret: s.init.GetDataSecret()})
	s.gateway = newGateway(s.manifest, s.link, s.core.callers)
	s.front = httptest.NewServer(s.gateway)
	token, err := s.core.callers.admit(o.Principal, o.Permissions)
	s.Client = s.newClient(token)
	return err
}

// encodeConfig makes what the module gets of the operator's configuration, which is checked against the module's schema.
func encodeConfig(m *manifest.Manifest, dir string, config any) ([]byte, error) {
	if config == nil {
		config = map[string]any{}
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encode Options.Config: %w", err)
	}
	if m.Config == nil {
		if string(encoded) != "{}" {
			return nil, errors.New("module.yaml declares no configuration (fix: add `config: { schema: config.schema.json }`)")
		}
		return encoded, nil
	}
	schema, err := readSchema(filepath.Join(dir, filepath.FromSlash(m.Config.Schema)))
	if err != nil {
		return nil, err
	}
	var value any
	if err := json.Unmarshal(encoded, &value); err != nil {
		return nil, fmt.Errorf("decode Options.Config: %w", err)
	}
	if err := schema.Validate(value); err != nil {
		return nil, fmt.Errorf("the configuration breaks %s: %w", m.Config.Schema, err)
	}
	return encoded, nil
}

func readSchema(path string) (*jsonschema.Resolved, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a schema that module.yaml names: %w", err)
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal(data, &schema); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return resolved, nil
}

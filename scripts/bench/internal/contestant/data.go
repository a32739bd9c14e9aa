package contestant

import (
	"context"
	"encoding/json"
	"path/filepath"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/scripts/bench/embedded"
	"github.com/platformd/platformd/scripts/bench/internal/proc"
	"github.com/platformd/platformd/scripts/bench/internal/scenario"
)

// embeddedMain is what the main of plugins/blog says in the contestants gorm-*. The package stays as authors copy it, and the
// benchmark measures its very handlers: a package of handlers beside a main that serves them would be one more thing to copy.
const embeddedMain = `package main

import "github.com/platformd/platformd/scripts/bench/embedded"

func main() { embedded.Main(newBlog().module()) }
`

// embeddedToken is as long as those of platformd, and opens what a benchmark has put there.
const embeddedToken = "embedded-0123456789-0123456789-0123456789-0123456789"

// moduleConns is how many connections a module gets by default (database.moduleMaxConns).
const moduleConns = 3

// keepers keep data: the sample module blog on each backend, in gin's process and in platformd's module.
func keepers() []Contestant {
	var all []Contestant
	for _, on := range []struct {
		backend, title string
		server         bool
	}{{"sqlite", "SQLite", false}, {"postgres", "PostgreSQL", true}} {
		baseline := "gorm-" + on.backend
		all = append(all, Contestant{
			Name: baseline, What: "plugins/blog's handlers and GORM in gin's own process, on " + on.title,
			Subject: scenario.Data, Against: baseline, server: on.server,
			needs: []string{"gorm"}, start: startEmbedded(baseline, on.server), prepare: fillEmbedded,
		}, Contestant{
			Name: "blog-" + on.backend, What: "platformd with the module blog, on " + on.title,
			Subject: scenario.Data, Against: baseline, server: on.server,
			needs: []string{"billing"}, start: startBlog("blog-"+on.backend, on.server), prepare: fillBlog,
		})
	}
	return all
}

// database makes the database of a contestant that needs a server; "" is the URL of the others.
func (s *Site) database(ctx context.Context, server bool) (string, error) {
	if !server {
		return "", nil
	}
	return s.server.Create(ctx)
}

// startEmbedded runs plugins/blog with a main of ours.
func startEmbedded(name string, server bool) func(context.Context, *Site, string) ([]*proc.Process, error) {
	return func(ctx context.Context, s *Site, address string) ([]*proc.Process, error) {
		dir, err := s.folder(name)
		if err != nil {
			return nil, err
		}
		url, err := s.database(ctx, server)
		if err != nil {
			return nil, err
		}
		order := filepath.Join(dir, "order.json")
		text, err := json.Marshal(embedded.Order{
			Manifest: filepath.Join(s.Root, "plugins", "blog", "module.yaml"),
			Database: embeddedDatabase(dir, url), Token: embeddedToken,
		})
		if err != nil {
			return nil, err
		}
		if err := write(order, string(text)); err != nil {
			return nil, err
		}
		p, err := s.run(ctx, name, s.bin("gorm"), address, order)
		if err != nil {
			return nil, err
		}
		return []*proc.Process{p}, nil
	}
}

// embeddedDatabase is what a module would be lent: the same settings, in a place of its own.
func embeddedDatabase(dir, url string) pluginapi.Database {
	database := pluginapi.Database{
		Driver: backend.SQLite, Source: filepath.Join(dir, "blog.db"), TablePrefix: "blog_", MaxConns: moduleConns,
	}
	if url != "" {
		database.Driver, database.Source = backend.PostgreSQL, url
	}
	return database
}

func fillEmbedded(ctx context.Context, _ *Site, r *Running) error {
	r.Token = embeddedToken
	return r.Posts().Fill(ctx)
}

// startBlog runs a daemon with the module blog, and ours that stands for billing, which blog requires.
func startBlog(name string, server bool) func(context.Context, *Site, string) ([]*proc.Process, error) {
	return func(ctx context.Context, s *Site, address string) ([]*proc.Process, error) {
		url, err := s.database(ctx, server)
		if err != nil {
			return nil, err
		}
		p, err := s.StartPlatform(ctx, Platform{
			Name: name, Address: address, Samples: []string{"blog"}, Billing: true, Database: url,
		})
		if err != nil {
			return nil, err
		}
		return []*proc.Process{p.Process}, nil
	}
}

func fillBlog(ctx context.Context, s *Site, r *Running) error {
	var err error
	if r.Token, err = (&Platform{Name: r.Name}).newToken(ctx, s, "blog.*"); err != nil {
		return err
	}
	return r.Posts().Fill(ctx)
}

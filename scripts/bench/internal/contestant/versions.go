package contestant

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"

	"github.com/platformd/platformd/scripts/bench/internal/report"
)

// libraries are the Go modules whose version a reader may want to know.
func libraries() []report.Version {
	return []report.Version{
		{Name: "gin", Version: "github.com/gin-gonic/gin"},
		{Name: "go-plugin", Version: "github.com/hashicorp/go-plugin"},
		{Name: "gRPC", Version: "google.golang.org/grpc"},
		{Name: "GORM", Version: "gorm.io/gorm"},
		{Name: "pgx", Version: "github.com/jackc/pgx/v5"},
		{Name: "modernc.org/sqlite", Version: "modernc.org/sqlite"},
		{Name: "coder/websocket", Version: "github.com/coder/websocket"},
		{Name: "Caddy", Version: "github.com/caddyserver/caddy/v2"},
		{Name: "grafana-plugin-sdk-go", Version: "github.com/grafana/grafana-plugin-sdk-go"},
		{Name: "amqp091-go", Version: "github.com/rabbitmq/amqp091-go"},
		{Name: "Watermill", Version: "github.com/ThreeDotsLabs/watermill"},
		{Name: "watermill-amqp", Version: "github.com/ThreeDotsLabs/watermill-amqp/v3"},
	}
}

// version is how most programs write theirs: nginx/1.22.1, debian/4.1.0-3+b2.
var version = regexp.MustCompile(`[0-9]+\.[0-9]+[0-9A-Za-z.+~-]*`)

// Versions names everything that takes part, once it is built.
func (s *Site) Versions(ctx context.Context, contestants []Contestant) ([]report.Version, error) {
	platform, err := s.platformVersion(ctx)
	if err != nil {
		return nil, err
	}
	all := []report.Version{platform, toolVersion(ctx, "wrk", "--version")}
	for _, c := range contestants {
		if c.tool != "" {
			all = append(all, toolVersion(ctx, c.tool, "-v"))
		}
	}
	if s.server != nil {
		version, err := s.server.Version(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, report.Version{Name: "PostgreSQL", Version: version})
	}
	if s.broker != nil {
		all = append(all, report.Version{Name: "RabbitMQ", Version: s.broker.Version()})
	}
	linked, err := s.linked(contestants)
	if err != nil {
		return nil, err
	}
	for _, library := range libraries() {
		if v := linked[library.Version]; v != "" {
			all = append(all, report.Version{Name: library.Name, Version: v})
		}
	}
	return all, nil
}

func (s *Site) platformVersion(ctx context.Context) (report.Version, error) {
	var answer struct{ Version, Commit string }
	out, err := exec.CommandContext(ctx, s.Platform(), "version", "-o", "json").Output()
	if err == nil {
		err = json.Unmarshal(out, &answer)
	}
	if err != nil {
		return report.Version{}, fmt.Errorf("ask platformd for its version: %w (fix: run `make build`)", err)
	}
	return report.Version{Name: "platformd", Version: answer.Version + " (" + answer.Commit + ")"}, nil
}

// toolVersion does not look at the exit code: wrk prints its version and fails.
func toolVersion(ctx context.Context, tool, flag string) report.Version {
	out, _ := exec.CommandContext(ctx, tool, flag).CombinedOutput()
	return report.Version{Name: tool, Version: version.FindString(string(out))}
}

// linked returns the version of each Go module that the contestants' binaries are made of, by path. Where two differ, the
// one of the earlier contestant is named.
func (s *Site) linked(contestants []Contestant) (map[string]string, error) {
	versions := map[string]string{}
	for _, c := range contestants {
		for _, name := range c.needs {
			info, err := buildinfo.ReadFile(s.bin(name))
			if err != nil {
				return nil, fmt.Errorf("read what %s was built from: %w", name, err)
			}
			for _, dependency := range info.Deps {
				if versions[dependency.Path] == "" {
					versions[dependency.Path] = dependency.Version
				}
			}
		}
	}
	return versions, nil
}

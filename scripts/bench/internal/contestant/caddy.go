package contestant

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/platformd/platformd/scripts/bench/internal/proc"
)

// caddyConfig is what two `reverse_proxy` in a Caddyfile become, without TLS and logs of requests. Caddy keeps 32 connections to
// an upstream by default; here it may keep as many as the others.
const caddyConfig = `{
  "admin": { "disabled": true, "config": { "persist": false } },
  "logging": { "logs": { "default": { "level": "WARN" } } },
  "storage": { "module": "file_system", "root": "DIR/storage" },
  "apps": { "http": { "servers": { "bench": {
    "listen": ["ADDRESS"],
    "protocols": ["h1"],
    "automatic_https": { "disable": true },
    "read_timeout": "10s",
    "read_header_timeout": "10s",
    "write_timeout": "10s",
    "idle_timeout": "2m",
    "max_header_bytes": 28672,
    "routes": [
      { "match": [ { "path": ["/api/v1/bench/sse"] } ], "handle": [ PROXY, "flush_interval": -1 } ], "terminal": true },
      { "handle": [ PROXY } ] }
    ]
  } } } }
}
`

const caddyProxy = `{
        "handler": "reverse_proxy",
        "upstreams": [ { "dial": "unix/DIR/gin.sock" } ],
        "transport": { "protocol": "http", "keep_alive": { "max_idle_conns_per_host": 256 } }`

func startCaddy(ctx context.Context, s *Site, address string) ([]*proc.Process, error) {
	dir, err := s.folder("caddy")
	if err != nil {
		return nil, err
	}
	config := strings.NewReplacer("DIR", dir, "ADDRESS", address).Replace(strings.ReplaceAll(caddyConfig, "PROXY", caddyProxy))
	path := filepath.Join(dir, "caddy.json")
	if err := write(path, config); err != nil {
		return nil, err
	}
	return s.behind(ctx, "caddy", s.bin("caddy"), path)
}

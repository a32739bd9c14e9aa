package contestant

import (
	"context"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/platformd/platformd/scripts/bench/internal/proc"
)

// haproxyConfig is how one sets HAProxy up for speed: a thread per core, kept connections on both sides that any request may
// use, buffers of the size that we measured to be best, splicing where it thinks that it pays, no log.
const haproxyConfig = `global
  nbthread THREADS
  maxconn 4096
  tune.bufsize 65536
defaults
  mode http
  timeout connect 5s
  timeout client 120s
  timeout server 120s
  timeout http-request 10s
  timeout http-keep-alive 120s
  timeout tunnel 1h
  option http-keep-alive
  option splice-auto
  http-reuse always
frontend clients
  bind ADDRESS backlog 4096
  default_backend gin
backend gin
  server gin unix@DIR/gin.sock
`

func startHAProxy(ctx context.Context, s *Site, address string) ([]*proc.Process, error) {
	dir, err := s.folder("haproxy")
	if err != nil {
		return nil, err
	}
	config := strings.NewReplacer("THREADS", strconv.Itoa(runtime.NumCPU()), "DIR", dir, "ADDRESS", address).Replace(haproxyConfig)
	path := filepath.Join(dir, "haproxy.cfg")
	if err := write(path, config); err != nil {
		return nil, err
	}
	return s.behind(ctx, "haproxy", "haproxy", "-db", "-f", path)
}

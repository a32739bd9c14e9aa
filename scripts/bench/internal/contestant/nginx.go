package contestant

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/platformd/platformd/scripts/bench/internal/proc"
)

// nginxConfig is how one sets nginx up for speed: a worker per core, kept connections on both sides, no access log, bodies in
// memory instead of in temporary files, in buffers of the size that we measured to be best. Uploads are passed on as they come,
// and events are not held back.
const nginxConfig = `USER
daemon off;
pid DIR/nginx.pid;
error_log stderr warn;
worker_processes auto;
worker_rlimit_nofile 16384;
events {
  worker_connections 4096;
  multi_accept on;
}
http {
  access_log off;
  server_tokens off;
  tcp_nodelay on;
  keepalive_timeout 120s;
  keepalive_requests 1000000000;
  client_header_timeout 10s;
  client_body_timeout 10s;
  send_timeout 10s;
  client_max_body_size 64m;
  client_body_buffer_size 512k;
  client_body_temp_path DIR/body;
  proxy_temp_path DIR/proxy;
  fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi;
  scgi_temp_path DIR/scgi;
  upstream gin {
    server unix:DIR/gin.sock;
    keepalive 256;
    keepalive_requests 1000000000;
    keepalive_timeout 60s;
  }
  proxy_http_version 1.1;
  proxy_set_header Host $http_host;
  proxy_set_header Connection "";
  proxy_buffer_size 32k;
  proxy_buffers 8 32k;
  proxy_busy_buffers_size 64k;
  proxy_max_temp_file_size 0;
  server {
    listen ADDRESS backlog=4096;
    location / {
      proxy_pass http://gin;
    }
    location /api/v1/bench/up {
      proxy_request_buffering off;
      proxy_pass http://gin;
    }
    location /api/v1/bench/sse {
      proxy_buffering off;
      proxy_pass http://gin;
    }
    location /api/v1/bench/ws {
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_read_timeout 1h;
      proxy_send_timeout 1h;
      proxy_pass http://gin;
    }
  }
}
`

func startNginx(ctx context.Context, s *Site, address string) ([]*proc.Process, error) {
	dir, err := s.folder("nginx")
	if err != nil {
		return nil, err
	}
	user := ""
	if os.Geteuid() == 0 { // else its workers could not reach a socket of ours
		user = "user root;"
	}
	config := strings.NewReplacer("USER", user, "DIR", dir, "ADDRESS", address).Replace(nginxConfig)
	path := filepath.Join(dir, "nginx.conf")
	if err := write(path, config); err != nil {
		return nil, err
	}
	return s.behind(ctx, "nginx", "nginx", "-p", dir, "-c", path)
}

package instance

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckHandshake(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ line, want string }{
		"good":             {"1|1|unix|/run/pd/1/plugin-dir1/plugin2|grpc|CERT", ""},
		"not a handshake":  {"listening on :8080", "not a handshake"},
		"empty":            {"", "not a handshake"},
		"other version":    {"1|2|unix|/run/pd/1/p|grpc|", `protocol version "2", this platformd speaks 1`},
		"net/rpc":          {"1|1|unix|/run/pd/1/p|netrpc|", "only grpc"},
		"tcp":              {"1|1|tcp|127.0.0.1:22|grpc|", "only a unix socket in its runtime folder"},
		"foreign socket":   {"1|1|unix|/run/docker.sock|grpc|", "only a unix socket in its runtime folder"},
		"neighbour":        {"1|1|unix|/run/pd/12/p|grpc|", "only a unix socket in its runtime folder"},
		"dots":             {"1|1|unix|/run/pd/1/../2/p|grpc|", "only a unix socket in its runtime folder"},
		"the folder":       {"1|1|unix|/run/pd/1|grpc|", "only a unix socket in its runtime folder"},
		"escape in a line": {"\x1b[2J|1", `"\x1b[2J|1"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := checkHandshake(c.line, "/run/pd/1")
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

package load

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/scripts/bench/internal/latency"
	"github.com/platformd/platformd/scripts/bench/internal/scenario"
)

func TestParseWrk(t *testing.T) {
	t.Parallel()
	const chatter = "Running 1s test @ http://127.0.0.1/\nRequests/sec: 5\ncounted: "
	cases := map[string]struct {
		line string
		want latency.Sample
	}{
		"all went well": {
			"1000 2000000 150 900 0 0 0\n",
			latency.Sample{Requests: 1000, Elapsed: 2 * time.Second, P50: 150 * time.Microsecond, P99: 900 * time.Microsecond},
		},
		"answers with a bad status are errors, not requests": {
			"1000 2000000 150 900 2 30 4\n",
			latency.Sample{
				Requests: 970, Elapsed: 2 * time.Second, P50: 150 * time.Microsecond, P99: 900 * time.Microsecond, Errors: 36,
				Problem: "2 broken connections, 30 answers other than 2xx and 3xx, 4 overdue",
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseWrk(chatter + c.line)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
	for _, bad := range []string{"", "Requests/sec: 5", "counted: 1 2 3\n", "counted: 1 2 3 4 5 6 x\n"} {
		_, err := parseWrk(bad)
		require.Error(t, err, "%q", bad)
	}
}

func TestWrkIsToldWhatToSend(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	create := scenario.Scenario{ID: "create", Method: "POST", Path: "/posts", Body: `{"a":"b"}`, Connections: 3}
	upload := scenario.Scenario{ID: "up", Method: "PUT", BodySize: 7, Connections: 1}
	require.NoError(t, WriteScripts(dir, []scenario.Scenario{create, upload}))
	for id, want := range map[string]string{
		"create": "wrk.method = \"POST\"\nwrk.body = \"{\\\"a\\\":\\\"b\\\"}\"\nwrk.headers['Content-Type'] = 'application/json'\n",
		"up":     "wrk.method = \"PUT\"\nwrk.body = string.rep('x', 7)\nwrk.headers['Content-Type'] = 'application/octet-stream'\n",
	} {
		script, err := os.ReadFile(filepath.Join(dir, id+".lua"))
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(script), want), "%s", script)
	}
	g := Generators{Scripts: dir, Threads: 2}
	args := g.wrkArgs(&create, Target{Address: "h:1", Token: "t"}, time.Second)
	require.Equal(t, []string{"--header", "Authorization: Bearer t", "http://h:1/posts"}, args[len(args)-3:])
	require.NotContains(t, g.wrkArgs(&upload, Target{Address: "h:1"}, time.Second), "--header")
}

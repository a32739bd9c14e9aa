package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/pgtest"
)

// cluster is where these tests meet passwords.
var cluster pgtest.Cluster

// envDoomed names the work of a process that is to be killed in the middle of it.
const envDoomed = "TEST_BACKUP_DOOMED"

func TestMain(m *testing.M) {
	if work := os.Getenv(envDoomed); work != "" {
		die(work)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(cluster.Exit))
}

// doomed is work that ends by kill -9 at a stage.
type doomed struct {
	DataDir string
	URL     string // JSON shows nothing of a secret one
	File    string
	Restore bool
	Stage   string
}

// die does the work of envDoomed, and is killed; if it is not, its stage was never reached.
func die(text string) {
	var d doomed
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		panic(err)
	}
	o := Options{DataDir: d.DataDir, Version: "1.2.3"}
	o.Database.URL = config.SecretURL(d.URL)
	o.at = func(stage string) {
		if stage == d.Stage {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	var err error
	if d.Restore {
		_, err = Restore(context.Background(), o, d.File, true)
	} else {
		_, err = Create(context.Background(), o, d.File)
	}
	fmt.Fprintln(os.Stderr, "not killed:", err)
	os.Exit(3)
}

// run kills a process of its own at the stage.
func (d doomed) run(t *testing.T) {
	t.Helper()
	text, err := json.Marshal(d)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envDoomed+"="+string(text))
	out, err := cmd.CombinedOutput()
	require.EqualError(t, err, "signal: killed", "%s", out)
}

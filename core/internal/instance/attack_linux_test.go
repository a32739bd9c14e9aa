package instance_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
)

// attackEvery is how often each attacker strikes: faster by far than a file is read, and slow enough to leave room for starts.
const attackEvery = 200 * time.Microsecond

// TestOnlyVerifiedBytesExecute is G9: while modules start, their executable is renamed and rewritten all the time. What must not
// run leaves a mark.
func TestOnlyVerifiedBytesExecute(t *testing.T) {
	t.Parallel()
	starts := 20
	if os.Getenv("PLATFORMD_SOAK") == "full" {
		starts = 10_000
	}
	for _, isolated := range []bool{true, false} {
		t.Run(fmt.Sprint("isolated ", isolated), func(t *testing.T) {
			t.Parallel()
			launcher, dataDir := instancetest.Launcher(t), t.TempDir()
			if isolated {
				launcher, dataDir = instancetest.Isolating(t, probeHost(t))
			}
			spec := verified(t, "good")
			spec.Data = filepath.Join(dataDir, "modules", "good")
			require.NoError(t, os.MkdirAll(spec.Data, 0o700))
			a := attack{path: spec.Executable, mark: filepath.Join(spec.Data, "mark")}
			end := a.begin(t)
			refused := startUnder(t, launcher, spec, starts/2)
			swaps, rewrites := end()
			t.Logf("%d starts, and %d refused, during %d swaps and %d rewrites", starts/2, refused, swaps, rewrites)
			require.Greater(t, swaps+rewrites, starts)
		})
	}
}

// startUnder launches until n have started. Of every two that start one has read its executable under the attack; the other is
// started again from that, as after a crash.
func startUnder(t *testing.T, launcher *instance.Launcher, spec instance.Spec, n int) (refused int) {
	t.Helper()
	for good := 0; good < n; {
		inst, err := launcher.Launch(t.Context(), spec)
		require.NoFileExists(t, filepath.Join(spec.Data, "mark"), "unverified bytes were executed")
		if err != nil {
			var host *instance.HostError
			require.ErrorAs(t, err, &host, "what was executed was no module")
			refused++
			continue
		}
		inst.Kill()
		if good++; good%2 == 0 {
			require.NoError(t, launcher.Retain(nil))
		}
	}
	return refused
}

// attack puts another program in an executable's place, by new files and within the file.
type attack struct {
	path, mark      string
	evil            []byte
	swaps, rewrites int
}

// begin returns when the attack is under way; end ends it.
func (a *attack) begin(t *testing.T) (end func() (swaps, rewrites int)) {
	t.Helper()
	a.evil = fmt.Appendf(nil, "#!/bin/sh\n: > '%s'\nexit 0\n", a.mark)
	content, err := os.ReadFile(a.path)
	require.NoError(t, err)
	dir := filepath.Dir(a.path)
	right, wrong := filepath.Join(dir, "right"), filepath.Join(dir, "wrong")
	require.NoError(t, os.WriteFile(right, content, 0o755))
	require.NoError(t, os.WriteFile(wrong, a.evil, 0o755))
	ctx, cancel := context.WithCancel(t.Context())
	var group errgroup.Group
	group.Go(func() error {
		for pace := time.NewTicker(attackEvery); ctx.Err() == nil; a.swaps++ {
			for _, source := range []string{wrong, right} {
				<-pace.C
				if err := putLink(source, a.path); err != nil {
					return err
				}
			}
		}
		return nil
	})
	group.Go(func() error { return a.rewrite(ctx, right, content[:len(a.evil)]) })
	return func() (int, int) {
		cancel()
		require.NoError(t, group.Wait())
		return a.swaps, a.rewrites
	}
}

func putLink(source, path string) error {
	next := path + ".next"
	if err := os.Link(source, next); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// rewrite goes on within the file that is the right one in between.
func (a *attack) rewrite(ctx context.Context, path string, head []byte) error {
	for pace := time.NewTicker(attackEvery); ctx.Err() == nil; a.rewrites++ {
		<-pace.C
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			continue // it is being executed, which must not be
		}
		for _, bytes := range [][]byte{a.evil, head} {
			if _, err := f.WriteAt(bytes, 0); err != nil {
				return err
			}
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

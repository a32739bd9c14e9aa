package instance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
)

// ownCommand is the first argument of what these tests run by RunOwn: there the test binary stands for platformd's.
const ownCommand = "__own"

// ownMain does not return in a process that was started to do one of ownActs.
func ownMain() {
	if len(os.Args) < 3 || os.Args[1] != ownCommand {
		return
	}
	if err := ownActs()[os.Args[2]](os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	os.Exit(0)
}

func ownActs() map[string]func(args []string) error {
	acts := map[string]func([]string) error{
		"echo": func([]string) error {
			fmt.Fprintln(os.Stderr, "this is for the log")
			_, err := io.Copy(os.Stdout, os.Stdin)
			return err
		},
		"environ": func([]string) error {
			_, err := fmt.Print(strings.Join(os.Environ(), "\n"))
			return err
		},
		"fail": func([]string) error { return errors.New("this is why") },
		"flood": func([]string) error {
			block := make([]byte, 1<<20)
			for {
				if _, err := os.Stdout.Write(block); err != nil {
					return err
				}
			}
		},
		"sleep": func([]string) error {
			fmt.Fprintln(os.Stderr, "sleeping")
			time.Sleep(time.Hour) //nolint:forbidigo // nothing is waited for
			return nil
		},
	}
	maps.Copy(acts, systemActs())
	return acts
}

// output is what a process printed, and whether that was said to be all.
type output struct {
	lockedBuilder
	mu     sync.Mutex
	closed int
}

// Close implements io.Closer.
func (o *output) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed++
	return nil
}

// owning is a spec with its output.
func owning(t *testing.T) (instance.Spec, *output) {
	t.Helper()
	out, spec := new(output), instancetest.Spec(t, "spy")
	spec.Output = func() io.WriteCloser { return out }
	return spec, out
}

func TestRunOwnAnswersWhatItPrints(t *testing.T) {
	t.Parallel()
	spec, out := owning(t)
	input := strings.Repeat("more than a pipe holds ", 10_000)
	answer, err := instancetest.Launcher(t).RunOwn(t.Context(), spec, []string{ownCommand, "echo"}, []byte(input))
	require.NoError(t, err)
	require.Equal(t, input, string(answer))
	require.Equal(t, "this is for the log\n", out.String())
	require.Equal(t, 1, out.closed)
}

func TestRunOwnSaysHowItFailed(t *testing.T) {
	t.Parallel()
	launcher := instancetest.Launcher(t)
	for act, says := range map[string]string{"fail": "the process ended: exit 3", "flood": "the answer has over "} {
		spec, out := owning(t)
		answer, err := launcher.RunOwn(t.Context(), spec, []string{ownCommand, act}, nil)
		require.ErrorContains(t, err, says)
		require.Nil(t, answer)
		require.Equal(t, 1, out.closed)
		if act == "fail" {
			require.Equal(t, "this is why\n", out.String())
		}
	}
}

func TestRunOwnEndsWithItsContext(t *testing.T) {
	t.Parallel()
	launcher := instancetest.Launcher(t)
	cause := errors.New("the reason")
	for _, early := range []bool{true, false} {
		spec, out := owning(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		if early {
			cancel(cause)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := launcher.RunOwn(ctx, spec, []string{ownCommand, "sleep"}, nil)
			ended <- err
		}()
		if !early {
			require.Eventually(t, func() bool { return out.String() == "sleeping\n" }, 20*time.Second, time.Millisecond)
			cancel(cause)
		}
		err := <-ended
		require.ErrorIs(t, err, cause)
		require.ErrorContains(t, err, "the process was ended")
	}
}

func TestRunOwnThatCannotStartIsTheHostsFault(t *testing.T) {
	t.Parallel()
	spec, _ := owning(t)
	spec.Dir = "/nowhere"
	_, err := instancetest.Launcher(t).RunOwn(t.Context(), spec, []string{ownCommand, "echo"}, nil)
	var host *instance.HostError
	require.ErrorAs(t, err, &host)
	require.ErrorContains(t, err, "start the process: ")
}

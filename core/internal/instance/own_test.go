package instance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
	"github.com/platformd/platformd/core/internal/isolation"
)

// ownCommand makes the test binary what RunOwn runs: it does one thing, and ends.
const ownCommand = "__own"

// ownMain does not return in a process that RunOwn made.
func ownMain() {
	if len(os.Args) < 3 || os.Args[1] != ownCommand {
		return
	}
	if err := ownWork(os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	os.Exit(0)
}

func ownWork(what string, args []string) error {
	switch what {
	case "echo":
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	case "all":
		return ownAttempts()
	case "hang": // hears nothing, not even its lifeline
		fmt.Fprintln(os.Stderr, "hanging")
		select {}
	case "flood":
		size, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(make([]byte, size))
		return err
	}
	said, err := ownAttempt(what, args[0])
	if err == nil {
		_, err = io.WriteString(os.Stdout, said)
	}
	return err
}

// ownAttempts does several, and says how each went.
func ownAttempts() error {
	var all [][2]string
	if err := json.NewDecoder(os.Stdin).Decode(&all); err != nil {
		return err
	}
	said := make([]string, len(all))
	for i, attempt := range all {
		var err error
		if said[i], err = ownAttempt(attempt[0], attempt[1]); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(said)
}

func ownAttempt(what, on string) (string, error) {
	attempt, found := attempts()[what]
	if !found {
		return "", fmt.Errorf("no attempt %q", what)
	}
	said, err := attempt(on)
	if err != nil {
		return "refused: " + err.Error(), nil
	}
	return said, nil
}

// ownRunner runs our own binary in the place of a module.
type ownRunner struct {
	launcher *instance.Launcher
	spec     instance.Spec
	log      *ownLog
}

// ownUnconfined is one without isolation.
func ownUnconfined(t *testing.T) ownRunner {
	t.Helper()
	return newOwnRunner(instancetest.Launcher(t), instancetest.Spec(t, "own"))
}

func newOwnRunner(launcher *instance.Launcher, spec instance.Spec) ownRunner {
	log := &ownLog{}
	spec.Output = func() io.WriteCloser { return log }
	spec.Limits = isolation.Limits{Memory: 1 << 30, CPU: 2, PIDs: 200, OpenFiles: 300}
	return ownRunner{launcher, spec, log}
}

func (r ownRunner) run(ctx context.Context, input string, args ...string) (string, error) {
	answer, err := r.launcher.RunOwn(ctx, r.spec, append([]string{ownCommand}, args...), []byte(input))
	return string(answer), err
}

// ownLog is a module's log, and knows whether it was closed.
type ownLog struct {
	mu     sync.Mutex
	text   bytes.Buffer
	closed int
}

// Write implements io.Writer.
func (l *ownLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// Close implements io.Closer.
func (l *ownLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed++
	return nil
}

func (l *ownLog) read() (text string, closed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String(), l.closed
}

func TestRunOwnAnswers(t *testing.T) {
	t.Parallel()
	r := ownUnconfined(t)
	long := strings.Repeat("more than a pipe holds ", 10_000)
	for _, input := range []string{"", "hello", long} {
		answer, err := r.run(t.Context(), input, "echo")
		require.NoError(t, err)
		require.Equal(t, input, answer)
	}
	text, closed := r.log.read()
	require.Empty(t, text)
	require.Equal(t, 3, closed)
}

func TestRunOwnTellsOfAFailure(t *testing.T) {
	t.Parallel()
	r := ownUnconfined(t)
	answer, err := r.run(t.Context(), strings.Repeat("nobody reads this", 10_000), "no such thing", "")
	require.EqualError(t, err, "the process ended: exit 3")
	require.Empty(t, answer)
	text, closed := r.log.read()
	require.Equal(t, "no attempt \"no such thing\"\n", text, "its standard error is the module's log")
	require.Equal(t, 1, closed)
}

func TestRunOwnBoundsTheAnswer(t *testing.T) {
	t.Parallel()
	r := ownUnconfined(t)
	answer, err := r.run(t.Context(), "", "flood", strconv.Itoa(instance.MaxAnswer))
	require.NoError(t, err)
	require.Len(t, answer, instance.MaxAnswer)
	answer, err = r.run(t.Context(), "", "flood", strconv.Itoa(instance.MaxAnswer+1))
	require.ErrorContains(t, err, fmt.Sprintf("the answer has over %d bytes", instance.MaxAnswer))
	require.Empty(t, answer)
	_, err = r.run(t.Context(), "", "flood", strconv.Itoa(10*instance.MaxAnswer))
	require.ErrorContains(t, err, fmt.Sprintf("the answer has over %d bytes", instance.MaxAnswer))
}

func TestRunOwnAfterItsContextHasEnded(t *testing.T) {
	t.Parallel()
	r := ownUnconfined(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.run(ctx, "", "hang")
	require.ErrorIs(t, err, context.Canceled)
}

func TestRunOwnThatCannotStartIsTheHostsFault(t *testing.T) {
	t.Parallel()
	r := ownUnconfined(t)
	r.spec.Dir = "/nowhere"
	_, err := r.run(t.Context(), "", "echo")
	var host *instance.HostError
	require.ErrorAs(t, err, &host)
	require.ErrorContains(t, err, "start the process: ")
}

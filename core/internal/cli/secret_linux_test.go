package cli

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// echoes tells whether the terminal shows what is typed.
func (s *sitting) echoes(t *testing.T) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(s.program.Fd()), unix.TCGETS)
	require.NoError(t, err)
	return state.Lflag&unix.ECHO != 0
}

// ask lets a person at a terminal be asked for a password.
func (s *sitting) ask(ctx context.Context, t *testing.T) <-chan result {
	a := newApp(Deps{Out: io.Discard, Err: s.program, Env: []string{}})
	asked := make(chan result, 1)
	go func() {
		answer, err := a.ask(ctx, s.program, password())
		r := result{out: answer}
		if err != nil {
			r.err = err.Error()
		}
		asked <- r
	}()
	s.waitFor(t, false)
	return asked
}

func (s *sitting) waitFor(t *testing.T, echo bool) {
	t.Helper()
	require.Eventually(t, func() bool { return s.echoes(t) == echo }, deadline, time.Millisecond)
}

func TestPasswordIsNotShown(t *testing.T) {
	t.Parallel()
	s := sit(t, "Again: ")
	asked := s.ask(t.Context(), t)
	_, err := s.person.WriteString("correct horse battery\n")
	require.NoError(t, err)
	requireSoon(t, s.seen.found)
	s.waitFor(t, false)
	_, err = s.person.WriteString("correct horse battery\n")
	require.NoError(t, err)
	require.Equal(t, result{out: "correct horse battery"}, requireSoon(t, asked))
	s.waitFor(t, true)
	s.leave()
	require.Equal(t, "Password: \r\nAgain: \r\n", s.all.String())
}

// Whoever interrupts has a terminal that shows again what is typed.
func TestInterruptedPassword(t *testing.T) {
	t.Parallel()
	s := sit(t, "Password: ")
	ctx, interrupt := context.WithCancel(t.Context())
	asked := s.ask(ctx, t)
	interrupt()
	require.Contains(t, requireSoon(t, asked).err, "interrupted; nothing was done")
	require.True(t, s.echoes(t))
	_, err := s.person.WriteString("\n") // ends the read, as the end of the process would
	require.NoError(t, err)
	s.leave()
}

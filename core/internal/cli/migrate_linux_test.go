package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/platformd/platformd/core/internal/admin"
)

// terminal opens both ends of a pseudo-terminal: what a person sees and types, and what the program has.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	conn, err := person.SyscallConn() // Fd would make its reads end for nobody's Close
	require.NoError(t, err)
	var number int
	require.NoError(t, conn.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}))
	require.NoError(t, err)
	program, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	return person, program
}

// sitting is a person at a terminal.
type sitting struct {
	person, program *os.File
	seen            *watched
	all             bytes.Buffer // read it after leave
	leave           func()
}

func sit(t *testing.T, waitsFor string) *sitting {
	t.Helper()
	s := &sitting{seen: &watched{want: waitsFor, found: make(chan struct{})}}
	s.person, s.program = terminal(t)
	var looking sync.WaitGroup
	looking.Go(func() { _, _ = io.Copy(io.MultiWriter(s.seen, &s.all), s.person) })
	s.leave = sync.OnceFunc(func() {
		_ = s.program.Close()
		looking.Wait()
		_ = s.person.Close()
	})
	t.Cleanup(func() {
		_ = s.person.Close() // of a test that failed: ends every read
		s.leave()
	})
	return s
}

// reply answers a question as a person would, or interrupts if there is no answer, and leaves when what has asked is at its end.
func (s *sitting) reply(t *testing.T, answer string, interrupt func(), ended <-chan error) error {
	t.Helper()
	requireSoon(t, s.seen.found)
	if answer == "" {
		interrupt()
	} else {
		_, err := s.person.WriteString(answer)
		require.NoError(t, err)
	}
	err := requireSoon(t, ended)
	if answer == "" { // ends the read, as the end of the process would
		_, writeErr := s.person.WriteString("\n")
		require.NoError(t, writeErr)
	}
	s.leave()
	return err
}

// confirmed asks what down asks, and answers as a person would; without an answer the person interrupts.
func confirmed(t *testing.T, answer string) (seen string, err error) {
	t.Helper()
	s := sit(t, "[y/N] ")
	a := newApp(Deps{Out: io.Discard, Err: s.program, Env: []string{}})
	cmd := a.migrateDown()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	cmd.SetContext(ctx)
	cmd.SetIn(s.program)
	asked := make(chan error)
	go func() { asked <- a.confirm(cmd, "Undo the last migration of blog?", false) }()
	err = s.reply(t, answer, interrupt, asked)
	return s.all.String(), err
}

func TestMigrateAsksAtATerminal(t *testing.T) {
	t.Parallel()
	for _, yes := range []string{"y\n", "Y\n", " y \n"} {
		seen, err := confirmed(t, yes)
		require.NoError(t, err)
		require.Contains(t, seen, "Undo the last migration of blog? [y/N] ")
	}
	for _, no := range []string{"n\n", "\n", "yes and no\n", "\x04"} {
		_, err := confirmed(t, no)
		require.ErrorContains(t, err, "nothing was done")
	}
	_, err := confirmed(t, "")
	require.ErrorContains(t, err, "interrupted; nothing was done")
}

// On a terminal a step is seen as it begins, and its line becomes that of its end.
func TestMigrateProgressOnATerminal(t *testing.T) {
	t.Parallel()
	s := sit(t, "1.5s")
	a := newApp(Deps{Out: io.Discard, Err: s.program, Env: []string{}})
	order := admin.MigrationOrder{Direction: admin.MigrateUp}
	require.NoError(t, a.order(t.Context(), sampleMigrations(""), "blog", order))
	requireSoon(t, s.seen.found)
	require.Error(t, a.order(t.Context(), sampleMigrations(""), "billing", order))
	s.leave()
	require.Equal(t, "\r\x1b[K[1/2] applying 0001_posts\r\x1b[K[1/2] applying 0001_posts: 7ms\r\n"+
		"\r\x1b[K[2/2] applying 0002_tags\r\x1b[K[2/2] applying 0002_tags: 1.5s\r\n"+
		"\r\x1b[K[1/2] applying 0001_posts\r\n", s.all.String(), "the error comes on a line of its own")
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// maxSecret is more than any password has, in bytes: a file that is larger is another one than was meant.
const maxSecret = 64 << 10

func passwordFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "password-file", "", "`file` with the password, - for stdin; without it you are asked")
}

// password reads a password from a file, or asks for one.
func (a *app) password(cmd *cobra.Command, file string) (string, error) {
	switch file {
	case "":
		return a.askPassword(cmd.Context(), cmd.InOrStdin())
	case "-":
		return readSecret(cmd.InOrStdin())
	}
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read the password: %w (fix: see --password-file)", err)
	}
	defer f.Close()
	return readSecret(f)
}

// readSecret leaves out the end of the last line, which editors and echo add.
func readSecret(from io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("read the password: %w (fix: see --password-file)", err)
	}
	if len(text) > maxSecret {
		return "", withFix(errors.New("the password file is far too large for a password"), "see --password-file")
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}

// unasked is the mistake of a command that would have to ask, where nobody can answer.
func unasked(what, fix string) error {
	return &failure{err: errors.New(what), code: ExitUsage, fix: fix}
}

// askPassword asks twice, as nobody sees what they type.
func (a *app) askPassword(ctx context.Context, in io.Reader) (string, error) {
	file, is := in.(*os.File)
	if !is || !term.IsTerminal(int(file.Fd())) {
		return "", unasked("there is no password, and no terminal to ask for one",
			"give it in a file: --password-file FILE, or on stdin: --password-file -")
	}
	password, err := a.askHidden(ctx, file, "Password: ")
	if err != nil {
		return "", err
	}
	again, err := a.askHidden(ctx, file, "Again: ")
	if err == nil && password != again {
		err = withFix(errors.New("the two passwords differ; nothing was done"), "run the command again")
	}
	return password, err
}

// askHidden does not show what is typed. Interrupted, it leaves a terminal that does again.
func (a *app) askHidden(ctx context.Context, from *os.File, prompt string) (string, error) {
	fd := int(from.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("read the password: %w (fix: give it in a file: --password-file FILE)", err)
	}
	fmt.Fprint(a.err, prompt)
	defer fmt.Fprintln(a.err)
	type answer struct {
		text []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // a read from a terminal cannot be interrupted: it ends with the process
		text, err := term.ReadPassword(fd)
		answers <- answer{text, err}
	}()
	select {
	case typed := <-answers:
		if typed.err != nil {
			return "", fmt.Errorf("read the password: %w (fix: give it in a file: --password-file FILE)", typed.err)
		}
		return string(typed.text), nil
	case <-ctx.Done():
		_ = term.Restore(fd, before) // it worked before
		return "", withFix(errors.New("interrupted; nothing was done"), "run the command again")
	}
}

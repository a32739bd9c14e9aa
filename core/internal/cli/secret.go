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

// hidden is a secret that is typed, or is in a file.
type hidden struct {
	what, flag, prompt string
	twice              bool // as nobody sees what they type
}

func password() hidden {
	return hidden{what: "password", flag: "--password-file", prompt: "Password: ", twice: true}
}

// password reads a password from a file, or asks for one.
func (a *app) password(cmd *cobra.Command, file string) (string, error) {
	return a.secret(cmd, file, password())
}

func (a *app) secret(cmd *cobra.Command, file string, h hidden) (string, error) {
	switch file {
	case "":
		return a.ask(cmd.Context(), cmd.InOrStdin(), h)
	case "-":
		return h.read(cmd.InOrStdin())
	}
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read the %s: %w (fix: see %s)", h.what, err, h.flag)
	}
	defer f.Close()
	return h.read(f)
}

// read leaves out the end of the last line, which editors and echo add.
func (h hidden) read(from io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("read the %s: %w (fix: see %s)", h.what, err, h.flag)
	}
	if len(text) > maxSecret {
		return "", withFix(fmt.Errorf("the %s file is far too large for a %[1]s", h.what), "see "+h.flag)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}

// unasked is the mistake of a command that would have to ask, where nobody can answer.
func unasked(what, fix string) error {
	return &failure{err: errors.New(what), code: ExitUsage, fix: fix}
}

func (a *app) ask(ctx context.Context, in io.Reader, h hidden) (string, error) {
	file, is := in.(*os.File)
	if !is || !term.IsTerminal(int(file.Fd())) {
		return "", unasked("there is no "+h.what+", and no terminal to ask for one",
			fmt.Sprintf("give it in a file: %s FILE, or on stdin: %[1]s -", h.flag))
	}
	answer, err := a.askHidden(ctx, file, h, h.prompt)
	if err != nil || !h.twice {
		return answer, err
	}
	again, err := a.askHidden(ctx, file, h, "Again: ")
	if err == nil && answer != again {
		err = withFix(fmt.Errorf("the two %ss differ; nothing was done", h.what), "run the command again")
	}
	return answer, err
}

// askHidden does not show what is typed. Interrupted, it leaves a terminal that does again.
func (a *app) askHidden(ctx context.Context, from *os.File, h hidden, prompt string) (string, error) {
	fd := int(from.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("read the %s: %w (fix: give it in a file: %s FILE)", h.what, err, h.flag)
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
			return "", fmt.Errorf("read the %s: %w (fix: give it in a file: %s FILE)", h.what, typed.err, h.flag)
		}
		return string(typed.text), nil
	case <-ctx.Done():
		_ = term.Restore(fd, before) // it worked before
		return "", withFix(errors.New("interrupted; nothing was done"), "run the command again")
	}
}

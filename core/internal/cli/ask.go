package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
)

// yesFlag is the flag of those who need not be asked.
func yesFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "do not ask")
}

// canAsk says whether somebody is there to answer.
func canAsk(cmd *cobra.Command) bool {
	file, is := cmd.InOrStdin().(*os.File)
	return is && isatty.IsTerminal(file.Fd())
}

// confirm asks on a terminal; elsewhere nobody can answer, and yes must have been said.
func (a *app) confirm(cmd *cobra.Command, question string, yes bool) error {
	switch {
	case yes:
		return nil
	case !canAsk(cmd):
		return unasked("this loses data, and there is nobody to ask", "add -y if you are sure")
	}
	return a.agree(cmd, question)
}

// agree is an error unless the answer is yes.
func (a *app) agree(cmd *cobra.Command, question string) error {
	yes, err := a.isYes(cmd, question)
	if err == nil && !yes {
		err = withFix(errors.New("nothing was done"), "answer y if you are sure")
	}
	return err
}

func (a *app) isYes(cmd *cobra.Command, question string) (bool, error) {
	answer, err := a.answer(cmd, question+" [y/N] ")
	return strings.EqualFold(answer, "y"), err
}

// answer is the line that somebody types at the terminal.
func (a *app) answer(cmd *cobra.Command, prompt string) (string, error) {
	fmt.Fprint(a.err, prompt)
	answer := make(chan string, 1)
	go func() { // a read from a terminal cannot be interrupted: it ends with the process
		line, _ := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 100)).ReadString('\n')
		answer <- line
	}()
	select {
	case line := <-answer:
		return strings.TrimSpace(line), nil
	case <-cmd.Context().Done():
		fmt.Fprintln(a.err)
		return "", withFix(errors.New("interrupted; nothing was done"), "answer y if you are sure")
	}
}

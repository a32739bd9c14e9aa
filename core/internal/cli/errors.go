package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/fatih/color"
	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/problem"
)

// failure is an error with what the shell and the person at it should know.
type failure struct {
	err  error
	code int    // 0 = as the error's kind says
	fix  string // "" = as the error's text says
}

// Error implements error.
func (f *failure) Error() string { return f.err.Error() }

// Unwrap serves errors.Is and errors.As.
func (f *failure) Unwrap() error { return f.err }

// WithExit gives err the exit code that the command ends with.
func WithExit(code int, err error) error { return &failure{err: err, code: code} }

func withFix(err error, fix string) error { return &failure{err: err, fix: fix} }

// explain makes errors of the control socket say which daemon they are about.
func explain(err error, cmd *cobra.Command, dataDir string) error {
	switch {
	case errors.Is(err, admin.ErrNotRunning):
		return notRunning(cmd, dataDir)
	case errors.Is(err, admin.ErrRefused):
		return &failure{err: err, code: ExitAuth, fix: "run the command as the user that started platformd"}
	case errors.Is(err, admin.ErrSilent):
		return withFix(err, fmt.Sprintf("see its log in %s; if it hangs, end it: kill -9 %d",
			filepath.Join(dataDir, "logs"), holder(admin.LockPath(dataDir))))
	}
	return err
}

// notRunning tells no daemon at all from one that has no control socket, because it is just starting or about to end.
func notRunning(cmd *cobra.Command, dataDir string) error {
	if pid := holder(admin.LockPath(dataDir)); pid != 0 {
		return withFix(fmt.Errorf("platformd (pid %d) does not answer on its control socket: it is starting, or already stopping", pid),
			fmt.Sprintf("run the command again in a moment; if nothing changes: kill %d", pid))
	}
	return withFix(fmt.Errorf("no platformd runs on data dir %s", dataDir), "platformd start"+sameFlags(cmd))
}

// sameFlags is the flags by which cmd was told where the daemon is.
func sameFlags(cmd *cobra.Command) string {
	text := ""
	for _, name := range []string{"config", "data-dir"} {
		if flag := cmd.Flags().Lookup(name); flag.Changed {
			text += " --" + name + " " + flag.Value.String()
		}
	}
	return text
}

// report tells what went wrong and returns the exit code.
func (a *app) report(cmd *cobra.Command, err error) int {
	if !a.working {
		err = &failure{err: err, code: ExitUsage, fix: "see `" + cmd.CommandPath() + " --help`"}
		fmt.Fprintln(a.err, "usage: "+cmd.UseLine())
	}
	what, fix := message(err)
	fmt.Fprintf(a.err, "%s %s\n", a.err.paint(color.FgRed, "error:"), cleanLines(what))
	fmt.Fprintf(a.err, "fix: %s\n", clean(fix))
	return exitCode(err)
}

// message says what went wrong, and what to do about it.
func message(err error) (what, fix string) {
	var p *problem.Problem
	what, fix = admin.SplitFix(err.Error())
	if errors.As(err, &p) {
		what, fix = admin.SplitFix(p.Detail)
	}
	var f *failure
	switch {
	case errors.As(err, &f) && f.fix != "":
		return what, f.fix
	case fix != "":
		return what, fix
	case errors.Is(err, context.Canceled):
		return "interrupted", "run the command again"
	}
	return what, "correct what the message names, and run the command again"
}

func exitCode(err error) int {
	var f *failure
	var p *problem.Problem
	var settings config.Errors
	var module manifest.Errors
	switch {
	case errors.As(err, &f) && f.code != 0:
		return f.code
	case errors.As(err, &settings), errors.As(err, &module):
		return ExitConfig
	case errors.As(err, &p) && p.Status == http.StatusNotFound:
		return ExitNotFound
	case errors.As(err, &p) && (p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden):
		return ExitAuth
	}
	return ExitError
}

// unknownCommand refuses the arguments of a command that only holds others, and names the commands that were meant.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return errors.New(text)
}

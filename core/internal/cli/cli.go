// Package cli (floor F5) is the commands of platformd. A command reads files, or talks to a running daemon over its control
// socket; only `start` runs one, with the function that main hands over.
//
// Data goes to stdout, everything else to stderr, and an error's last line says what to do: "fix: …". The package must not
// hold rules of its own about modules, tokens or the configuration: it shows what the packages below decide.
package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/isolation"
)

// The exit codes.
const (
	ExitOK             = 0
	ExitError          = 1
	ExitUsage          = 2 // unknown command, flag or argument
	ExitConfig         = 3 // config.yaml or module.yaml
	ExitUnhealthy      = 4 // only of status and doctor
	ExitNotFound       = 5
	ExitAuth           = 6
	ExitVerification   = 7
	ExitAlreadyRunning = 8
)

// Deps is what the commands need of the program around them.
type Deps struct {
	// Run runs the daemon until ctx ends and it has stopped. Its error may carry an exit code (WithExit).
	Run func(ctx context.Context, opts StartOptions) error
	// Offline does work on migrations, packages and modules' data where no daemon runs. Its error may carry an exit code (WithExit).
	Offline func(ctx context.Context, opts StartOptions, work func(context.Context, admin.Offline) error) error
	// Lock keeps daemons away from a data directory until the result is closed. Its error may carry an exit code (WithExit).
	Lock func(dataDir string) (io.Closer, error)
	// Probe finds out how far this machine can isolate modules.
	Probe func() *isolation.Host
	// Version and Commit say what was built; an empty one is looked up in the binary's build information.
	Version, Commit string
	// Out and Err are os.Stdout and os.Stderr if nil, Env is os.Environ().
	Out, Err io.Writer
	Env      []string
}

// StartOptions is what `platformd start` found out.
type StartOptions struct {
	Config *config.Config
	// ConfigFile is empty if there is no file.
	ConfigFile string
	// Attach names the modules that are left to a debugger.
	Attach []string
	// Out is for the banner.
	Out     io.Writer
	Version string
}

// Main runs the command that args name (without the program's own name) and returns the exit code. SIGINT and SIGTERM end
// the command's context; a second one ends the process at once.
func Main(args []string, deps Deps) int {
	ctx, stop := interruptible()
	defer stop()
	return run(ctx, args, deps)
}

func run(ctx context.Context, args []string, deps Deps) int {
	a := newApp(deps)
	root := a.root() //nolint:contextcheck // the commands get it from cobra, which gets it below
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	return a.report(cmd, err)
}

// interruptible returns a context that ends with the first signal. stop must be called.
func interruptible() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	var watch sync.WaitGroup
	done := make(chan struct{})
	watch.Go(func() {
		for _, act := range []func(){cancel, func() { os.Exit(ExitError) }} {
			select {
			case <-signals:
				act()
			case <-done:
				return
			}
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		watch.Wait()
		cancel()
	}
}

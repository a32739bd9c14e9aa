// Command platformd runs the platform, and talks to one that runs. It only wires the daemon into the commands.
package main

import (
	"context"
	"errors"
	"os"
	"runtime"

	"github.com/platformd/platformd/core/internal/cli"
	"github.com/platformd/platformd/core/internal/daemon"
	"github.com/platformd/platformd/core/internal/isolation"
	"github.com/platformd/platformd/core/internal/sqlfiles"
)

// What was built. A release sets them with -ldflags "-X main.version=… -X main.commit=…".
var (
	version = "0.1.0-dev"
	commit  = ""
)

func main() {
	isolation.Main() // in a process that is to become a module it does not return
	sqlfiles.Main()  // nor this, in one that is to run a module's migration
	os.Exit(cli.Main(os.Args[1:], cli.Deps{Run: run, Probe: isolation.Probe, Version: version, Commit: commit}))
}

func run(ctx context.Context, o cli.StartOptions) error {
	leaveRoom()
	host := isolation.Probe()
	if err := isolation.Harden(); err != nil {
		return err
	}
	err := daemon.Run(ctx, daemon.Options{
		Config: o.Config, ConfigFile: o.ConfigFile, Out: o.Out, Version: o.Version, Attach: o.Attach, Host: host,
	})
	var running *daemon.AlreadyRunningError
	if errors.As(err, &running) {
		return cli.WithExit(cli.ExitAlreadyRunning, err)
	}
	return err
}

// leaveRoom leaves one of the machine's processors to the modules, which answer what the core passes on
// (docs/decisions/0010). Who sets GOMAXPROCS knows better.
func leaveRoom() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)-1))
	}
}

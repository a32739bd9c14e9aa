// Command platformd runs the platform, and talks to one that runs. It only wires the daemon into the commands.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"

	"github.com/platformd/platformd/core/internal/admin"
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
	os.Exit(cli.Main(os.Args[1:], cli.Deps{
		Run: run, Offline: offline, Lock: lock, Probe: isolation.Probe, Version: version, Commit: commit,
	}))
}

func run(ctx context.Context, o cli.StartOptions) error {
	leaveRoom()
	defer runtime.KeepAlive(collectLate())
	options, err := options(o)
	if err != nil {
		return err
	}
	return withExit(daemon.Run(ctx, options))
}

func offline(ctx context.Context, o cli.StartOptions, work func(context.Context, admin.Offline) error) error {
	options, err := options(o)
	if err != nil {
		return err
	}
	return withExit(daemon.Offline(ctx, options, work))
}

func lock(dataDir string) (io.Closer, error) {
	held, err := daemon.Lock(dataDir)
	return held, withExit(err)
}

// options prepares this process to launch modules.
func options(o cli.StartOptions) (daemon.Options, error) {
	host := isolation.Probe()
	return daemon.Options{
		Config: o.Config, ConfigFile: o.ConfigFile, Out: o.Out, Version: o.Version, Attach: o.Attach, Host: host,
	}, isolation.Harden()
}

func withExit(err error) error {
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

// smallHeap is how large a heap counts as small, in bytes.
const smallHeap = 64 << 20

// collectLate has a small heap grow by smallHeap more than Go would let it before its garbage is collected: for as long as the
// result is kept. It is never written to, so it takes no memory (docs/decisions/0035). Who sets GOGC or GOMEMLIMIT knows better.
func collectLate() []byte {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return make([]byte, smallHeap)
}

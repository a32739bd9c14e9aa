// Command evil is the module that misbehaves on request. EVIL_MODE chooses how it starts; its routes do the rest. The
// end-to-end suites install it beside the sample modules.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

func main() {
	mode := modeOf()
	misstart(mode)
	e := &evil{}
	module := pluginapi.Module{
		Routes:     e.routes(),
		Migrations: db.Migrations(migrations(mode)...),
		Init: func(_ context.Context, core *pluginapi.Core) error {
			e.core = core
			if mode == "init-fails" {
				return errors.New("the billing server at 10.0.0.1 does not answer")
			}
			return nil
		},
		Health: func(ctx context.Context) error {
			if mode == "unhealthy" {
				return errors.New("no disk space left")
			}
			if e.livelocked.Load() {
				<-ctx.Done()
			}
			return nil
		},
	}
	if lies(mode) {
		serveLiar(module, e, mode)
		return
	}
	switch mode {
	case "missing-route":
		delete(module.Routes, "echo")
	case "extra-route":
		module.Routes["backdoor"] = module.Routes["echo"]
	case "impostor": // offers what hello does
		module.Routes = map[string]pluginapi.Handler{"greet": module.Routes["echo"]}
	case "http1":
		plugintest.ServeHTTP1(module)
		return
	}
	pluginapi.Serve(module)
}

// misstart is what goes wrong before the SDK is reached.
func misstart(mode string) {
	switch mode {
	case "exit-silently":
		os.Exit(0)
	case "exit-7":
		os.Exit(7)
	case "garbage-line":
		fmt.Println("hello, I am not a handshake")
	case "huge-line":
		fmt.Println(strings.Repeat("x", 200<<10))
	case "silent":
		sleep()
	case "tcp":
		fmt.Println("1|1|tcp|127.0.0.1:9|grpc|")
		sleep()
	case "foreign-socket":
		fmt.Println("1|1|unix|/tmp/somebody-elses.sock|grpc|")
		sleep()
	case "wrong-version":
		fmt.Println("1|99|unix|/tmp/x.sock|grpc|")
		sleep()
	case "no-speech":
		acceptAndSayNothing()
	case "grandchild":
		if _, err := startChild(); err != nil { // it holds our outputs, and nobody prints a handshake
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(0)
	case "netrpc":
		fmt.Println("1|1|unix|/tmp/x.sock|netrpc|")
		sleep()
	default:
		mishandshake(mode)
	}
}

// acceptAndSayNothing listens where the core expects it, and answers nothing.
func acceptAndSayNothing() {
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "mute.sock")
	listener, err := net.Listen("unix", path) //nolint:noctx // it opens a path
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("1|1|unix|%s|grpc|\n", path)
	for {
		if _, err := listener.Accept(); err != nil {
			os.Exit(1)
		}
	}
}

// sleep outlasts every start. An empty select would not: the runtime calls that a deadlock and ends the process.
func sleep() { time.Sleep(time.Hour) }

func migrations(mode string) []db.Migration {
	steps := []db.Migration{{ID: "0001_things", Up: createThings}}
	if mode == "migration-fails" {
		steps = append(steps, db.Migration{ID: "0002_broken", Up: func(tx *gorm.DB) error {
			if err := createOthers(tx); err != nil {
				return err
			}
			return tx.Exec("INSERT INTO nowhere VALUES (1)").Error
		}})
	}
	if mode == "migration-waits" {
		steps = append(steps, db.Migration{ID: "0002_slow", Up: waitInStep})
	}
	return steps
}

// waitInStep stays inside a migration, after its writes, for as long as there is a file "hold" in the module's folder,
// which it cannot write to itself.
func waitInStep(tx *gorm.DB) error {
	if err := createOthers(tx); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(os.TempDir(), "migrating"), nil, 0o600); err != nil {
		return err
	}
	for {
		if _, err := os.Stat("hold"); err != nil {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func createThings(tx *gorm.DB) error {
	type thing struct {
		ID   int64 `gorm:"primaryKey"`
		Name string
	}
	return tx.Migrator().CreateTable(&thing{})
}

func createOthers(tx *gorm.DB) error {
	type other struct {
		ID int64 `gorm:"primaryKey"`
	}
	return tx.Migrator().CreateTable(&other{})
}

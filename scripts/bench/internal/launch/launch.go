// Package launch is what the contestants that are built on go-plugin share: one binary that is a gin front when the benchmark
// starts it, and a plugin when that front starts it again.
//
// It must not know how requests travel: each contestant brings its own plugin.Plugin.
package launch

import (
	"fmt"
	"os"
	"os/exec"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"github.com/platformd/platformd/scripts/bench/internal/front"
)

// Name is what a contestant's plugin is dispensed as.
const Name = "http"

// Handshake is what front and plugin present to each other.
func Handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "BENCH_PLUGIN", MagicCookieValue: "launched-by-its-front"}
}

// Logger keeps go-plugin's chatter out of the measurement.
func Logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr})
}

// Main runs the front on the address in os.Args, with the plugin that config launches; Main adds the command to it. The
// client that go-plugin dispenses under name becomes the front's answers by forward.
func Main(config *plugin.ClientConfig, name string, forward func(client any) (front.Forward, error)) {
	if len(os.Args) != 2 {
		fmt.Fprintf(os.Stderr, "usage: %s HOST:PORT\n", os.Args[0])
		os.Exit(2)
	}
	if err := run(os.Args[1], config, name, forward); err != nil {
		fmt.Fprintln(os.Stderr, "error: "+err.Error())
		os.Exit(1)
	}
}

func run(address string, config *plugin.ClientConfig, name string, forward func(any) (front.Forward, error)) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this binary: %w", err)
	}
	config.Cmd = exec.Command(self) //nolint:noctx // client.Kill ends it
	config.Logger = Logger()
	client := plugin.NewClient(config)
	defer client.Kill()
	connection, err := client.Client()
	if err != nil {
		return fmt.Errorf("launch the plugin: %w", err)
	}
	dispensed, err := connection.Dispense(name)
	if err != nil {
		return fmt.Errorf("dispense %s: %w", name, err)
	}
	answers, err := forward(dispensed)
	if err != nil {
		return err
	}
	return front.Run(address, answers)
}

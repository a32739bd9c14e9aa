package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime/debug"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/platformd/platformd/plugin-api/wire"
)

const maxMessage = wire.MaxMessage

// connect starts the process and shakes hands. go-plugin takes no context: when ctx ends we kill the process, on which
// everything it waits for fails.
func (i *Instance) connect(ctx context.Context) error {
	i.client = plugin.NewClient(i.clientConfig())
	result := make(chan error, 1)
	go func() { result <- i.dispense() }()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		i.proc.abort()
		return errors.Join(ctx.Err(), <-result)
	}
}

func (i *Instance) clientConfig() *plugin.ClientConfig {
	return &plugin.ClientConfig{
		HandshakeConfig:  wire.Handshake(),
		Plugins:          wire.Plugins(),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     i.spec.Timeout,
		Logger:           hclog.NewNullLogger(), // we log what matters ourselves, with the module's name
		SyncStdout:       i.openStream(),
		SyncStderr:       i.openStream(),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: i.dir},
		GRPCDialOptions:  []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage))},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
			i.proc.prepare(cmd.Env)
			return i.proc, nil
		},
	}
}

// dispense is go-plugin's part: start, handshake line, connection. Its parsing of a hostile line has panicked before.
func (i *Instance) dispense() (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("go-plugin panicked: %v\n%s", cause, debug.Stack())
		}
	}()
	protocol, err := i.client.Client()
	if err != nil {
		return err
	}
	dispensed, err := protocol.Dispense(wire.PluginName)
	if err != nil {
		return err
	}
	conn, ok := dispensed.(*wire.Conn)
	if !ok {
		return fmt.Errorf("go-plugin dispensed a %T", dispensed)
	}
	i.module, i.broker = conn.Module, conn.Broker
	return nil
}

// openStream opens a log stream for what the author's code prints through os.Stdout or os.Stderr, which go-plugin carries
// over gRPC. It is closed with the instance.
func (i *Instance) openStream() io.Writer {
	stream := i.spec.Output()
	i.printed = append(i.printed, stream)
	return stream
}

package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/platformd/platformd/plugin-api/wire"
)

const abandonAfter = 2 * time.Second

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
		return errors.Join(ctx.Err(), abandon(result))
	}
}

// abandon waits a moment for go-plugin to notice that its process is dead. A descendant that holds the socket open can keep
// it waiting; then it is left alone, and its goroutine ends with that descendant.
func abandon(result <-chan error) error {
	select {
	case err := <-result:
		return err
	case <-time.After(abandonAfter):
		return errors.New("go-plugin did not return though the process is dead")
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
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: i.dir, Group: i.proc.cell.Group()},
		GRPCDialOptions:  append(wire.DialOptions(), grpc.WithChainStreamInterceptor(quietBroker)),
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
	i.module, i.events, i.broker = conn.Module, conn.Events, conn.Broker
	return nil
}

// openStream opens a log stream for what the author's code prints through os.Stdout or os.Stderr, which go-plugin carries
// over gRPC. It is closed with the instance.
func (i *Instance) openStream() io.Writer {
	stream := i.spec.Output()
	i.printed = append(i.printed, stream)
	return stream
}

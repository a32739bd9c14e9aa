package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/platformd/platformd/plugin-api/wire"
)

// The sockets on which the core listens for the module.
const (
	callsSocket  = "calls.sock"
	eventsSocket = "events.sock"
)

// acceptPause is waited after a connection could not be accepted, as when the process has too many files open.
const acceptPause = 10 * time.Millisecond

// listen makes the sockets that the module is to connect to. They must be there before the folder is handed to the module's user:
// what we make in it afterwards could not be handed over safely.
func (i *Instance) listen() (err error) {
	if i.spec.Calls != nil {
		i.calls, err = listenIn(i.dir, callsSocket)
	}
	if err == nil && i.spec.Publications != nil {
		i.publications, err = listenIn(i.dir, eventsSocket)
	}
	if err != nil {
		i.endListening()
	}
	return err
}

func (i *Instance) endListening() {
	for _, l := range []*net.UnixListener{i.calls, i.publications} {
		if l != nil {
			_ = l.Close() // nothing was written; a second close changes nothing
		}
	}
}

func listenIn(dir, name string) (*net.UnixListener, error) {
	path := filepath.Join(dir, name)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("make the module's %s: %w", name, err)
	}
	l.SetUnlinkOnClose(false) // the folder goes as a whole; by then the path may be the module's own doing
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("make the module's %s: %w", name, err), l.Close())
	}
	return l, nil
}

// servePublications hands the connections of the module's process on, until the listener is closed; then it closes them, and
// returns when nobody uses them any more.
func (i *Instance) servePublications() {
	room := make(chan struct{}, 2*wire.MaxPublishing) // the SDK may hang up and come again before we have noticed
	lasting, end := context.WithCancel(context.Background())
	var all sync.WaitGroup
	defer all.Wait()
	defer end()
	for {
		conn, err := i.publications.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			pause := time.NewTimer(acceptPause)
			<-pause.C
			continue
		}
		if err := i.admit(conn, room); err != nil {
			i.log.Warn("refused a connection to the module's events socket", "error", err)
			_ = conn.Close()
			continue
		}
		all.Go(func() {
			defer func() { _ = conn.Close(); <-room }()
			defer context.AfterFunc(lasting, func() { _ = conn.Close() })()
			i.spec.Publications(lasting, conn)
		})
	}
}

// admit takes room for a connection, if it is one that the module may have.
func (i *Instance) admit(conn *net.UnixConn, room chan<- struct{}) error {
	if err := i.CheckCaller(conn); err != nil {
		return err
	}
	select {
	case room <- struct{}{}:
		return nil
	default:
		return fmt.Errorf("there are %d already", cap(room))
	}
}

package admin

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"github.com/platformd/platformd/core/internal/isolation"
)

// maxSocketPath is what fits into a socket's address, its closing NUL not counted: 107 bytes on Linux.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// CheckSocketPath returns an error if no socket can have the path, so that a start can fail before it has made anything.
func CheckSocketPath(path string) error {
	if len(path) <= maxSocketPath {
		return nil
	}
	return fmt.Errorf("the path of the control socket, %s, has %d bytes; at most %d are possible\nfix: set a shorter data.dir",
		path, len(path), maxSocketPath)
}

// Listen opens the control socket at path, mode 0600. It accepts connections of this user and of root only, and none of
// modules, whatever their user. A path where
// something is already is an error: the caller, who holds the data directory's lock, removes a stale socket before.
func Listen(path string, log hclog.Logger) (net.Listener, error) {
	if err := CheckSocketPath(path); err != nil {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	// Between the two calls the socket has the mode that the umask leaves; guarded does not rely on the mode.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("protect the control socket: %w", err), ln.Close())
	}
	return &guarded{UnixListener: ln, owner: os.Getuid(), log: log}, nil
}

// guarded drops the connections of other users and of modules.
type guarded struct {
	*net.UnixListener
	owner int
	log   hclog.Logger
}

// Accept returns the next connection of this user or of root that is no module's.
func (g *guarded) Accept() (net.Conn, error) {
	for {
		conn, err := g.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(conn)
		if err == nil && !admits(uid, g.owner) {
			err = errors.New("the peer is another user")
		}
		if err == nil {
			err = isolation.CheckPeer(conn)
		}
		if err == nil {
			return conn, nil
		}
		g.log.Warn("refused a connection to the control socket", "uid", uid, "error", err)
		_ = conn.Close() // nothing was said on it
	}
}

// admits reports whether a process of the user peer may rule a daemon of the user own.
func admits(peer, own int) bool { return peer == own || peer == 0 }

package admin

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerUID returns the user of the process that opened conn, as the kernel recorded it.
func peerUID(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var peer *unix.Xucred
	var failed error
	err = raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED) })
	if err != nil {
		return -1, err
	}
	if failed != nil {
		return -1, failed
	}
	return int(peer.Uid), nil
}

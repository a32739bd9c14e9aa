package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// server is the user that runs a cluster where the tests run as root, whom PostgreSQL refuses; nil: whoever runs the tests.
func server() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if uidErr == nil && gidErr == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	return nil
}

func as(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Credential: server(), Setpgid: true} }

// give hands files to the user that runs the cluster.
func give(files ...string) error {
	owner := server()
	if owner == nil {
		return nil
	}
	for _, file := range files {
		if err := os.Chown(file, int(owner.Uid), int(owner.Gid)); err != nil {
			return fmt.Errorf("give %s to the server: %w", file, err)
		}
	}
	return nil
}

//go:build unix

package pluginapi

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/platformd/platformd/plugin-api/wire"
)

// reserveStdout keeps descriptor 1 for the handshake line: whatever the author's code or a C library prints there goes to
// standard error, where the core reads the module's log.
func reserveStdout() error {
	handshake, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fmt.Errorf("reserve standard output for the handshake: %w", err)
	}
	if err := unix.Dup2(2, 1); err != nil {
		return fmt.Errorf("send standard output to standard error: %w", err)
	}
	os.Stdout = os.NewFile(uintptr(handshake), "handshake")
	return nil
}

// watchLifeline ends the module's whole process group as soon as the core is gone, however it went.
func watchLifeline() error {
	number := os.Getenv(wire.EnvLifeline)
	if number == "" {
		return nil
	}
	fd, err := strconv.Atoi(number)
	if err != nil {
		return fmt.Errorf("%s=%q is not a descriptor number", wire.EnvLifeline, number)
	}
	syscall.CloseOnExec(fd)
	lifeline := os.NewFile(uintptr(fd), "lifeline")
	go func() { // lives as long as the process
		_, _ = lifeline.Read(make([]byte, 1)) // nothing is ever written: it returns at EOF
		// Not a word: standard error's reader is gone with the core, and writing there would end this process by SIGPIPE
		// before it has taken its group along.
		if syscall.Getpgrp() == os.Getpid() {
			_ = syscall.Kill(0, syscall.SIGKILL)
		}
		os.Exit(1)
	}()
	return nil
}

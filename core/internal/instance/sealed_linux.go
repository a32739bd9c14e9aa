package instance

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// sealed copies the content into memory that nobody can write any more, the core and root included, and that can be executed
// (memfd_create(2), F_ADD_SEALS of fcntl(2)). Tools that list processes show the name.
func sealed(name string, content io.Reader) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 all of them could be executed, and the flag was unknown
		fd, err = unix.MemfdCreate(name, flags)
	}
	if errors.Is(err, unix.EACCES) {
		return nil, fmt.Errorf("make an executable in memory: %w (fix: sysctl vm.memfd_noexec=1)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("make an executable in memory: %w", err)
	}
	file := os.NewFile(uintptr(fd), name)
	_, err = io.Copy(file, content)
	if err == nil {
		err = file.Chmod(0o555) // modules with users of their own read and execute it
	}
	if err == nil {
		_, err = unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS,
			unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make an executable in memory: %w", err), file.Close())
	}
	return file, nil
}

package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// AlreadyRunningError says that another daemon has the data directory.
type AlreadyRunningError struct {
	DataDir string
	PID     int // 0 if it could not be read
}

// Error implements error.
func (e *AlreadyRunningError) Error() string {
	return fmt.Sprintf("platformd already runs on %s with pid %d"+
		" (fix: `platformd stop --data-dir %s`, or start on another --data-dir)", e.DataDir, e.PID, e.DataDir)
}

// lock keeps a data directory to one daemon. The kernel drops it with the process, however that ends; the file stays.
type lock struct{ file *os.File }

// Lock keeps daemons away from a data directory until the result is closed. The error is an *AlreadyRunningError if one runs.
func Lock(dir string) (io.Closer, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the data directory: %w", err)
	}
	return lockDataDir(dir)
}

func lockDataDir(dir string) (*lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w (fix: set data.dir to a folder you may write)", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "daemon.pid"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the data directory: %w (fix: set data.dir to a folder you may write)", err)
	}
	if err := tryLock(file); err != nil {
		pid := readPID(file)
		_ = file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &AlreadyRunningError{DataDir: dir, PID: pid}
		}
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	l := &lock{file: file}
	if err := l.writePID(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// tryLock asks for a moment: `platformd stop` and `status` look whether there is a lock by taking one for an instant.
func tryLock(file *os.File) error {
	for deadline := time.Now().Add(200 * time.Millisecond); ; {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // flock has no form that gives up after a time
	}
}

func (l *lock) writePID() error {
	if err := l.file.Truncate(0); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	if _, err := l.file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	return nil
}

// Close gives the directory up. The pid is wiped first, so that nobody reads it as a daemon's that still runs.
func (l *lock) Close() error {
	return errors.Join(l.file.Truncate(0), l.file.Close())
}

func readPID(file *os.File) int {
	content := make([]byte, 32)
	n, _ := file.ReadAt(content, 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(content[:n])))
	return pid
}

package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"gopkg.in/natefinch/lumberjack.v2"
)

const (
	fileMiB     = 10 // size at which a file is put aside
	fileBackups = 2  // files put aside that are kept: with the one that is written, three
)

// files are the log files, one per module, each bounded. They are opened when there is something to write.
type files struct {
	dir string

	mu     sync.Mutex
	open   map[string]*lumberjack.Logger
	failed map[string]bool // what could not be written last time, so that it is said once
	closed bool
}

// write appends a line to a module's file. The error is nil while a failure goes on that has been returned before.
func (f *files) write(module string, line []byte) error {
	if f.dir == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	err := f.append(module, line)
	if err == nil {
		delete(f.failed, module)
		return nil
	}
	if f.failed[module] {
		return nil
	}
	if f.failed == nil {
		f.failed = map[string]bool{}
	}
	f.failed[module] = true
	return fmt.Errorf("write the log file of %s: %w; free the disk, or let platformd write to %s", module, err, f.dir)
}

func (f *files) append(module string, line []byte) error {
	file := f.open[module]
	if file == nil {
		// The log library would make it readable for everybody.
		if err := os.MkdirAll(f.dir, 0o700); err != nil {
			return err
		}
		file = &lumberjack.Logger{Filename: filepath.Join(f.dir, module+".log"), MaxSize: fileMiB, MaxBackups: fileBackups}
		if f.open == nil {
			f.open = map[string]*lumberjack.Logger{}
		}
		f.open[module] = file
	}
	_, err := file.Write(line)
	return err
}

func (f *files) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	var errs []error
	for _, file := range f.open {
		errs = append(errs, file.Close())
	}
	f.open = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the log files: %w", err)
	}
	return nil
}

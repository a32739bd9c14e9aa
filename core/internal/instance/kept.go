package instance

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// keptDir holds, below runDir, the executables that modules were launched from, by their checksums.
const keptDir = "kept"

// copying begins the names of those that are not whole yet.
const copying = "copy-"

// binary returns what the process is to execute, and its checksum. That is the file of the spec; where somebody has put another
// one in its place meanwhile, the one that was launched before: a new version comes with a manifest of its own, not by a crash.
func (l *Launcher) binary(spec Spec) (path, sum string, err error) {
	sum, err = checksum(spec.Executable)
	switch {
	case spec.SHA256 == "":
		return spec.Executable, sum, err
	case err == nil && sum == spec.SHA256:
		l.keep(spec)
		return spec.Executable, sum, nil
	}
	kept := l.keptPath(spec.SHA256)
	if sum, keptErr := checksum(kept); keptErr == nil && sum == spec.SHA256 {
		return kept, sum, nil
	}
	if err != nil {
		return "", "", err
	}
	return "", "", fmt.Errorf("the executable %s is not the one that was there when its module.yaml was read "+
		"(fix: take what is there now: platformd module restart %s)", spec.Executable, spec.Name)
}

func (l *Launcher) keptPath(sum string) string { return filepath.Join(l.runDir, keptDir, sum) }

// keep gives the executable a second name, which it has for as long as Retain says; where that cannot be, it is copied. What is
// kept is compared before it is executed, so that a failure costs no more than what it was kept for.
func (l *Launcher) keep(spec Spec) {
	path := l.keptPath(spec.SHA256)
	if _, err := os.Lstat(path); err == nil {
		return
	}
	err := os.Mkdir(filepath.Dir(path), 0o711) //nolint:gosec // modules with users of their own pass through
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = os.Link(spec.Executable, path)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) { // another file system, or another owner's file
		err = l.copyExecutable(spec.Executable, path)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		l.log.Warn("an executable is not kept; the module cannot be started again from it once the file is replaced",
			"module", spec.Name, "error", err)
	}
}

// copyExecutable makes the copy appear whole: several launches may want one at the same time.
func (l *Launcher) copyExecutable(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.CreateTemp(filepath.Dir(to), copying)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	err = errors.Join(err, target.Chmod(0o755), target.Close())
	if err == nil {
		err = os.Rename(target.Name(), to)
	}
	if err != nil {
		return errors.Join(err, os.Remove(target.Name()))
	}
	return nil
}

// Retain forgets the executables that are kept, except for those with one of these checksums.
func (l *Launcher) Retain(sums map[string]bool) error {
	entries, err := os.ReadDir(filepath.Join(l.runDir, keptDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		if !sums[entry.Name()] && !strings.HasPrefix(entry.Name(), copying) {
			err = errors.Join(err, os.Remove(l.keptPath(entry.Name())))
		}
	}
	return err
}

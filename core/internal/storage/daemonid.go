package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var daemonIDForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// daemonID is the name under which the daemon of a data folder is known in the database. It is made once, so that a daemon
// recognizes what it left when it was killed.
func daemonID(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the data directory: %w (fix: set data.dir to a folder you may write)", err)
	}
	file := filepath.Join(dir, "daemon.id")
	for {
		text, err := os.ReadFile(file)
		if id := strings.TrimSpace(string(text)); err == nil && daemonIDForm.MatchString(id) {
			return id, nil
		}
		if err == nil {
			return "", fmt.Errorf("%s does not hold 16 hex digits (fix: remove it)", file)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("read the daemon's id: %w (fix: run as the user that owns the data directory)", err)
		}
		if err := writeDaemonID(dir, file); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("write the daemon's id: %w (fix: set data.dir to a folder you may write)", err)
		}
	}
}

// writeDaemonID makes the file whole or not at all, and never in place of another.
func writeDaemonID(dir, file string) (err error) {
	temp, err := os.CreateTemp(dir, ".daemon.id-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(temp.Name())) }()
	_, err = temp.WriteString(randomHex(8) + "\n")
	if err = errors.Join(err, temp.Close()); err != nil {
		return err
	}
	return os.Link(temp.Name(), file)
}

package isolation

import (
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
)

// Cell is what surrounds one process. Its life: Command, Start, Kill as often as needed, Explain once it has ended, Close.
// Start, Kill and Close are safe for concurrent use with each other once Start has returned.
type Cell struct {
	Level Level
	// Notes say why Level is less than the host's; each ends with a fix.
	Notes []string
	// UID is the user of the process; the core's, unless it has one of its own.
	UID int

	spec  Spec
	image atomic.Pointer[os.File] // Spec.Image, until it is used or closed
	walls
}

// Open returns a cell without walls, for processes that are trusted.
func Open(spec Spec) *Cell {
	c := &Cell{Level: None, UID: os.Getuid(), spec: spec}
	c.image.Store(spec.Image)
	return c
}

// Group is the group, as a number, by which core and process share their sockets; empty if they are one user.
func (c *Cell) Group() string {
	if c.UID == os.Getuid() {
		return ""
	}
	return strconv.Itoa(c.UID) // each user of ours has a group of the same number
}

// imagePath is how a process executes Spec.Image.
const imagePath = "/proc/self/fd/4"

// Command returns the command that runs the executable inside the cell; the caller adds environment, and as only extra file the
// end of a pipe of which the core holds the other.
func (c *Cell) Command() *exec.Cmd {
	name, args := c.spec.Executable, []string(nil)
	if len(c.spec.Own) > 0 {
		name, args = ownBinary(), c.spec.Own
	}
	cmd := exec.Command(name, args...) //nolint:noctx // its life is not a context's: the caller kills the whole tree
	if c.spec.Image != nil {
		cmd.Path = imagePath // its first argument stays what it was read from
	}
	if helper := c.helper(); helper != nil {
		cmd = exec.Command(helper[0], helper[1:]...) //nolint:noctx // as above
	}
	cmd.Dir = c.spec.Dir
	return cmd
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/platformd/platformd/core/internal/admin"
)

const (
	// stopSlack is added to what the daemon itself thinks a stop may take.
	stopSlack = 10 * time.Second
	// lockInterval is how often a lock is looked at: the kernel tells nobody when a flock is dropped, except who takes it,
	// and a command that waits to take it would be in the way of the next start.
	lockInterval = 20 * time.Millisecond
)

func (a *app) stop() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop the running platform, and wait until it is gone",
		Long: "Asks the running platform to stop and waits until it is gone: requests in flight finish within\n" +
			"server.drainTimeout, then each module has its stopTimeout.",
	}
	return a.action(cmd, a.converse(func(c *conversation) error {
		stopping, err := c.Stop(c.cmd.Context())
		if err != nil {
			return err
		}
		fmt.Fprintf(a.err, "stopping platformd (pid %d)\n", stopping.PID)
		if err := awaitStop(c.cmd.Context(), admin.LockPath(c.dataDir), stopping); err != nil {
			return err
		}
		fmt.Fprintln(a.err, "stopped")
		return nil
	}))
}

// awaitStop returns when the daemon has given up its lock, which is the last thing that it does.
func awaitStop(ctx context.Context, lock string, stopping admin.Stopping) error {
	within := time.Duration(stopping.WithinMillis)*time.Millisecond + stopSlack
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	look := time.NewTicker(lockInterval)
	defer look.Stop()
	for {
		if held, err := isHeld(lock); err != nil || !held {
			return err
		}
		select {
		case <-look.C:
		case <-timeout.C:
			return withFix(fmt.Errorf("platformd (pid %d) was told to stop, but still runs after %s", stopping.PID, within),
				fmt.Sprintf("see what it waits for with `platformd logs`, or end it: kill -9 %d", stopping.PID))
		case <-ctx.Done():
			return withFix(fmt.Errorf("interrupted; platformd (pid %d) goes on stopping", stopping.PID), "platformd status")
		}
	}
}

// isHeld reports whether a daemon holds the lock. It takes the lock for a moment if nobody does.
func isHeld(lock string) (bool, error) {
	file, err := os.Open(lock)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the daemon's lock: %w", err)
	}
	defer file.Close() // gives up the lock, if it was free
	err = unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
		return false, fmt.Errorf("look at the daemon's lock: %w", err)
	}
	return err != nil, nil
}

// holder returns the pid of the daemon that holds the lock, 0 if none does. Without a pid in the file it does not touch the
// lock, so that who asks again and again whether a daemon is up already does not come between that and its lock.
func holder(lock string) int {
	content, err := os.ReadFile(lock)
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(content))) // 0 if there is none
	if pid == 0 {
		return 0
	}
	if held, err := isHeld(lock); err != nil || !held {
		return 0
	}
	return pid
}

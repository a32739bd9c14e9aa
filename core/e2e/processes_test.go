package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// below returns the processes whose executable lies below dir: a platform's own and all that came of them, whatever session
// or namespace they are in.
func below(t *testing.T, dir string) (pids []int) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	require.NoError(t, err)
	for _, link := range links {
		target, err := os.Readlink(link) // fails for one that is ending
		if err != nil || !strings.HasPrefix(target, dir+"/") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		require.NoError(t, err)
		if alive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// ownBinary copies the daemon into a platform's folder, so that below finds it and nobody else's.
func ownBinary(t *testing.T, dir string) string {
	t.Helper()
	binary := filepath.Join(dir, "platformd")
	content, err := os.ReadFile(filepath.Join(built, "platformd"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(binary, content, 0o755))
	return binary
}

// records are the records of the daemon's log with the given message, with the time of each.
func (p *platform) records(message string) (found []record) {
	p.t.Helper()
	for line := range strings.Lines(p.log.String()) {
		var r record
		if json.Unmarshal([]byte(line), &r) == nil && r.Message == message {
			found = append(found, r)
		}
	}
	return found
}

// record is what the tests read of a record of the log.
type record struct {
	Time    time.Time `json:"@timestamp"`
	Message string    `json:"@message"`
	Reason  string    `json:"reason"`
}

// ended awaits the n-th record that a process of a module ended, counted from 1.
func (p *platform) ended(n int) record {
	p.t.Helper()
	var all []record
	p.await("the end of a process to be noticed", func() bool {
		all = p.records("the module's process ended")
		return len(all) >= n
	})
	return all[n-1]
}

// descriptors counts the open files of a process.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd")
	require.NoError(t, err)
	return len(entries)
}

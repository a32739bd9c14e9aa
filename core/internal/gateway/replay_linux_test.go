package gateway

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// dataSocket finds the socket of the process, whose folder is named in its environment.
func dataSocket(t *testing.T, pid int) string {
	t.Helper()
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	require.NoError(t, err)
	for entry := range strings.SplitSeq(string(environ), "\x00") {
		if dir, found := strings.CutPrefix(entry, "PLUGIN_UNIX_SOCKET_DIR="); found {
			return filepath.Join(filepath.Dir(dir), "data.sock")
		}
	}
	require.Fail(t, "the process has no socket")
	return ""
}

// TestNotReachedRunsAgain: nothing has been done, so it does not matter what it is; the body was read for the first one.
func TestNotReachedRunsAgain(t *testing.T) {
	t.Parallel()
	for transport, launch := range transports() {
		for size := range map[int]bool{0: true, 10: true, 64 << 10: true, 1 << 20: true} {
			t.Run(fmt.Sprint(transport, size), func(t *testing.T) {
				t.Parallel()
				a := newAccident(t, launch, nil)
				require.NoError(t, os.Remove(dataSocket(t, a.victim.PID())))
				body := make([]byte, size)
				_, _ = rand.Read(body)
				done := make(chan answered, 1)
				go func() { done <- a.send(a.request(http.MethodPost, "/thing?notes="+a.notes, bytes.NewReader(body))) }()
				// It was tried once, and the module lives; the second try gives it another moment to end.
				require.Eventually(t, func() bool {
					return strings.Contains(a.get("/metrics").body, `requests_repeated_total{module="once"} 1`)
				}, soon, time.Millisecond)
				a.kill()
				a.relaunch()
				require.Equal(t, http.StatusOK, (<-done).status)
				notes := a.notesOf()
				require.Len(t, notes, 1)
				sum := sha256.Sum256(body)
				require.Equal(t, hex.EncodeToString(sum[:]), notes[0].SHA256)
			})
		}
	}
}

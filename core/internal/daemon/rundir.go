package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// longestRunDir leaves room for the names of the sockets below it: a unix socket's path holds 107 bytes.
const longestRunDir = 60

// runDir is the private folder for the sockets of this data directory's instances: below it if the paths stay short enough,
// else in the system's temporary folder, under a name that the next daemon of the same data directory finds again.
func runDir(dataDir string) (string, error) {
	if dir := filepath.Join(dataDir, "run"); len(dir) <= longestRunDir {
		return dir, nil
	}
	sum := sha256.Sum256([]byte(dataDir))
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("platformd-%d-%s", os.Getuid(), hex.EncodeToString(sum[:6])))
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return "", fmt.Errorf("make the runtime folder: %w", err)
	}
	return dir, checkPrivate(dir)
}

// checkPrivate refuses a folder that somebody else laid out for us in a place where everybody may write.
func checkPrivate(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at the runtime folder: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	private := info.Mode().Perm()&^0o011 == 0o700 // modules with users of their own pass through it
	if !info.IsDir() || !private || !ok || int(owner.Uid) != os.Getuid() {
		return fmt.Errorf("runtime folder %s is not a private folder of this user"+
			" (fix: remove it, or set data.dir to a shorter path)", dir)
	}
	return nil
}

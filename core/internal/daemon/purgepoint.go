//go:build !failpoints

package daemon

// purgePoint is where tests kill the process, in binaries that are built for that.
func purgePoint(string) {}

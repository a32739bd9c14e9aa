//go:build !linux

package instance

// Traced is not known here: use `platformd start --attach NAME` to debug a module.
func (i *Instance) Traced() bool { return false }

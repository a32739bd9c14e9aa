//go:build !failpoints

package store

// failpoint is called between any two steps that last. Tests put something in its place that kills the process there.
var failpoint = func(string) {}

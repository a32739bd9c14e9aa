// Package e2e holds the end-to-end tests: real binaries, real processes, real kills. It has no code of its own.
package e2e

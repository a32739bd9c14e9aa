// Package sqlfiles proves what core/internal/sqlfiles runs, in real processes on real databases: that needs rooms above its own.
// It has no code of its own.
package sqlfiles

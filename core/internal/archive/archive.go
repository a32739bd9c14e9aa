// Package archive is the form of a module's package, NAME-VERSION.tar.gz: it writes one, always the same bytes for the same
// files, and reads one that anybody may have made.
//
// A package is a gzipped tar of regular files. checksums.txt comes first and names every other file with its SHA-256, as
// sha256sum writes it; module.yaml comes second; then the rest: bin/OS_ARCH/NAME for each platform, and whatever else the
// module's folder needs. Reading checks each byte against checksums.txt. That says that the package is whole, not whose it is:
// see signing.
//
// Floor 0. It must not know where modules are installed, run anything of a package, or write outside of the folder it is given.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/platformd/platformd/plugin-api/manifest"
)

// The files that every package has.
const (
	ChecksumsFile = "checksums.txt"
	ManifestFile  = "module.yaml"
)

// maxChecksums bounds checksums.txt, in bytes.
const maxChecksums = 4 << 20

// Limits bound what is read. What a package may not exceed, it cannot make a reader write, keep or wait for either.
type Limits struct {
	// Total is the sum of all files' sizes, and File the largest of them, in bytes.
	Total, File int64
	// Entries is the number of files and folders.
	Entries int
	// Ratio is how many bytes one byte of the archive may become, once it has become a megabyte.
	Ratio int64
	// Path is the length of a name, in bytes.
	Path int
}

// DefaultLimits is what a platform accepts, and what Write keeps to.
func DefaultLimits() Limits {
	return Limits{Total: 1 << 30, File: 512 << 20, Entries: 10_000, Ratio: 100, Path: 200}
}

// Options say how a package is read.
type Options struct {
	// Limits are DefaultLimits if they are zero.
	Limits Limits
	// Platform, such as linux/amd64, is whose executable Extract puts where the manifest wants it; those of other platforms are
	// checked and left out. A package without that platform is refused. "" extracts the files as they are named.
	Platform string
}

func (o Options) limits() Limits {
	if o.Limits == (Limits{}) {
		return DefaultLimits()
	}
	return o.Limits
}

// Package is what a package holds.
type Package struct {
	Manifest *manifest.Manifest
	// Platforms are those that there is an executable for, such as linux/amd64, sorted.
	Platforms []string
	// SHA256 is the checksum of the archive itself, and Size its length: who has verified a signature before compares them, to know
	// that the bytes are still the same.
	SHA256 string
	Size   int64
	// Files are all files but checksums.txt, sorted by name.
	Files []File
	// Unpacked is the sum of their sizes.
	Unpacked int64
}

// File is one file of a package.
type File struct {
	Name string
	Size int64
	// SHA256 is in hexadecimal digits.
	SHA256 string
	// Executable files may be executed.
	Executable bool
	// Platform is set for the module's executables: bin/linux_amd64/blog is that of linux/amd64.
	Platform string
	// Path is where Extract has put it, below its root; "" if it has been left out.
	Path string
}

// Error is what is wrong with a package.
type Error struct {
	// Code is a stable, machine-readable name, such as "checksum_mismatch".
	Code string
	// Message and Fix say in one line each what is wrong, and what to do next.
	Message, Fix string
	// Err is the error behind it, or nil. Message already says it.
	Err error
}

// Error returns the message and, on a line of its own, "fix: …".
func (e *Error) Error() string { return e.Message + "\nfix: " + e.Fix }

// Unwrap returns the error behind it.
func (e *Error) Unwrap() error { return e.Err }

// again is the advice for a package that was damaged on its way, or was never made by us.
const again = "get the package again; if it stays so, have it made with `platformd pack`"

func refuse(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Fix: again}
}

// Extract reads a package to its end and writes its files below root, which should be empty: nothing in it is overwritten. It
// returns an *Error if the package is not as it should be, the context's error, or that of the disk; then whatever is in root
// is the caller's to remove. Nothing is synced to the disk.
func Extract(ctx context.Context, from io.Reader, root *os.Root, o Options) (*Package, error) {
	return read(ctx, from, &target{root: root, platform: o.Platform}, o)
}

// Verify does what Extract does, and writes nothing.
func Verify(ctx context.Context, from io.Reader, o Options) (*Package, error) {
	return read(ctx, from, &target{platform: o.Platform}, o)
}

// Open opens a package, or a file of one, for reading. It refuses whatever is not a regular file, without waiting for it, as a
// FIFO would have us do.
func Open(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, &Error{Code: "unreadable", Err: err, Message: err.Error(),
			Fix: "name a file that is there and that this user may read"}
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &Error{Code: "not_a_file", Message: fmt.Sprintf("%s is not a regular file but %s", path, kind(info.Mode())),
			Fix: "put an ordinary file there, or name another one"}
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func kind(mode os.FileMode) string {
	if mode.IsDir() {
		return "a folder"
	}
	return "a special file (" + mode.Type().String() + ")"
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	io.Reader
}

// Read implements io.Reader.
func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

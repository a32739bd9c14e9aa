package instance

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// image is what a process is to be made of: bytes whose checksum was taken, and that nobody can change since.
type image struct {
	sum    string   // SHA-256 in hex
	script bool     // an interpreter reads it, and looks beside its path for the rest
	file   *os.File // sealed; nil where nothing can be, and the executable is executed by its path
}

// image returns what the process of the spec is to execute; the caller closes its file. It is made once for each checksum, and
// held for as long as Retain says: what was launched before is launched again, whatever lies at its path by now. A new version
// comes with a manifest of its own, not by a crash.
func (l *Launcher) image(spec Spec) (image, error) {
	if held, found, err := l.held(spec.SHA256); found {
		return byPath(held, spec), err
	}
	made, err := makeImage(spec)
	if err == nil && spec.SHA256 != "" && made.file != nil {
		made, err = l.hold(made)
	}
	return byPath(made, spec), err
}

// byPath leaves a script to its path if its bytes are there: its interpreter would not find, from a descriptor, what lies beside
// it. A swap in the moment before the interpreter reads it is not noticed: docs/decisions/0032.
func byPath(i image, spec Spec) image {
	if !i.script || i.file == nil {
		return i
	}
	f, err := openRegular(spec.Executable)
	if err != nil {
		return i
	}
	defer f.Close()
	if sum, _, err := checksum(f); err != nil || sum != i.sum {
		return i
	}
	_ = i.file.Close() // it was only read
	i.file = nil
	return i
}

// makeImage reads the executable. It copies nothing of a file that is not the right one, and no more than the right one has.
func makeImage(spec Spec) (image, error) {
	f, err := openRegular(spec.Executable)
	if err != nil {
		return image{}, fmt.Errorf("read the executable: %w", err)
	}
	defer f.Close()
	sum, size, err := checksum(f)
	if err != nil {
		return image{}, err
	}
	if spec.SHA256 != "" && sum != spec.SHA256 {
		return image{}, fmt.Errorf("the executable %s is not the one that was there when its module.yaml was read "+
			"(fix: take what is there now: platformd module restart %s)", spec.Executable, spec.Name)
	}
	made := image{sum: sum}
	if made.file, err = sealed(spec.Name, io.NewSectionReader(f, 0, size)); err != nil || made.file == nil {
		return made, err
	}
	if err := made.check(spec.Executable); err != nil {
		return image{}, errors.Join(err, made.file.Close())
	}
	return made, nil
}

// check compares what was sealed, not what was read on the way to it.
func (i *image) check(path string) error {
	sum, _, err := checksum(i.file)
	if err != nil {
		return err
	}
	if sum != i.sum {
		return fmt.Errorf("the executable %s was changed while it was read (fix: replace it by renaming a new file over it)", path)
	}
	var head [2]byte
	n, _ := i.file.ReadAt(head[:], 0) // a file that is too short is no script
	i.script = string(head[:n]) == "#!"
	return nil
}

// held returns the image of that checksum for one launch.
func (l *Launcher) held(sum string) (_ image, found bool, err error) {
	l.imagesMu.Lock()
	defer l.imagesMu.Unlock()
	held, found := l.images[sum]
	if !found {
		return image{}, false, nil
	}
	again, err := held.again()
	return again, true, err
}

// hold keeps the image, unless another launch was faster, and returns it for one launch.
func (l *Launcher) hold(made image) (image, error) {
	l.imagesMu.Lock()
	defer l.imagesMu.Unlock()
	if held, found := l.images[made.sum]; found {
		_ = made.file.Close() // it is the same
		return held.again()
	}
	l.images[made.sum] = made
	return made.again()
}

// again opens the file once more, for reading: Retain may close what is held at any moment.
func (i image) again() (image, error) {
	file, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", i.file.Fd()))
	if err != nil {
		return image{}, fmt.Errorf("open the executable in memory: %w", err)
	}
	i.file = file
	return i, nil
}

// Retain forgets the executables that are held, except for those with one of these checksums. Processes that run keep theirs.
func (l *Launcher) Retain(sums map[string]bool) error {
	l.imagesMu.Lock()
	defer l.imagesMu.Unlock()
	var problems []error
	for sum, held := range l.images {
		if !sums[sum] {
			problems = append(problems, held.file.Close())
			delete(l.images, sum)
		}
	}
	return errors.Join(problems...)
}

// openRegular opens a regular file, and refuses anything else without waiting for it, as a FIFO would have us do.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file (fix: build the module)", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// checksum reads all of the file, and says how much that was.
func checksum(f *os.File) (sum string, size int64, err error) {
	const most = 1 << 62
	hash := sha256.New()
	if size, err = io.Copy(hash, io.NewSectionReader(f, 0, most)); err != nil {
		return "", 0, fmt.Errorf("read the executable: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil)), size, nil
}

// close closes the file of an image that is not used.
func (i image) close() error {
	if i.file == nil {
		return nil
	}
	return i.file.Close()
}

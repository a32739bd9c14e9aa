package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/platformd/platformd/plugin-api/manifest"
)

// layout checks that what checksums.txt names is what the manifest needs, before any of it is unpacked, and returns the
// platforms.
func layout(listed sums, m *manifest.Manifest, platform string) ([]string, error) {
	var platforms []string
	unpacked := newIndex()
	if err := unpacked.add(ChecksumsFile); err != nil { // where a package is installed, one lies there
		return nil, err
	}
	for _, name := range listed.names() {
		of, err := platformOfName(name)
		if err != nil {
			return nil, err
		}
		if of == "" {
			if err := unpacked.add(name); err != nil {
				return nil, err
			}
			continue
		}
		if want := ExecutableName(of, m.Name); name != want {
			return nil, refuse("bad_layout", "the executable for %s is called %q, not %q", of, name, want)
		}
		platforms = append(platforms, of)
	}
	if len(platforms) == 0 {
		return nil, refuse("no_executable", "the package has no executable, such as %s", ExecutableName("linux/amd64", m.Name))
	}
	if platform != "" && !slices.Contains(platforms, platform) {
		return nil, &Error{Code: "platform_missing",
			Message: fmt.Sprintf("the package is for %s; this is %s", strings.Join(platforms, ", "), platform),
			Fix:     "have it packed with --platforms " + strings.Join(append(platforms, platform), ",")}
	}
	if err := placeOf(m.Runtime.Executable, unpacked); err != nil {
		return nil, err
	}
	slices.Sort(platforms)
	return platforms, needed(listed, m)
}

// placeOf makes sure that the executable has a place of its own in the unpacked folder.
func placeOf(executable string, unpacked *index) error {
	if why := badName(executable, DefaultLimits().Path); why != "" {
		return nameError(executable, why)
	}
	if err := unpacked.add(executable); err != nil {
		return &Error{Code: err.Code, Message: "runtime.executable: " + err.Message,
			Fix: "remove the file that is in the place of the executable, and pack again"}
	}
	return nil
}

// needed finds the files that the manifest names.
func needed(listed sums, m *manifest.Manifest) error {
	var names []string
	if m.Config != nil {
		names = append(names, m.Config.Schema)
	}
	for _, event := range m.Events.Publishes {
		if event.Schema != "" {
			names = append(names, event.Schema)
		}
	}
	for _, name := range names {
		if listed[name] == "" {
			return &Error{Code: "missing_file", Message: fmt.Sprintf("%s names %q, which is not in the package", ManifestFile, name),
				Fix: "pack the module again, with that file"}
		}
	}
	return nil
}

// target is where a package goes.
type target struct {
	root     *os.Root // nil: nowhere
	platform string
}

// create begins a file, and notes in f where that is.
func (t *target) create(f *File, executable string) (io.WriteCloser, error) {
	if t.root == nil || t.platform != "" && f.Platform != "" && f.Platform != t.platform {
		return discard{io.Discard}, nil
	}
	f.Path = f.Name
	if t.platform != "" && f.Platform != "" {
		f.Path = executable
	}
	if err := t.folders(path.Dir(f.Path)); err != nil {
		return nil, unpacking(f.Name, err)
	}
	// Modules have users of their own, who may read their files and change none.
	mode := fs.FileMode(0o644)
	if f.Executable {
		mode = 0o755
	}
	file, err := t.root.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, unpacking(f.Name, err)
	}
	if err := file.Chmod(mode); err != nil { // whatever the umask is
		return nil, errors.Join(unpacking(f.Name, err), file.Close())
	}
	return file, nil
}

// unpacking wraps what is not the package's fault.
func unpacking(name string, err error) error {
	var disk *fs.PathError
	if errors.As(err, &disk) {
		return fmt.Errorf("unpack %s: %w (fix: see that the disk is well and has room)", name, err)
	}
	return fmt.Errorf("unpack %s: %w", name, err)
}

func (t *target) folders(dir string) error {
	if dir == "." {
		return nil
	}
	if err := t.folders(path.Dir(dir)); err != nil {
		return err
	}
	err := t.root.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return t.root.Chmod(dir, 0o755)
}

// discard is io.Discard, to be closed.
type discard struct{ io.Writer }

// Close implements io.Closer.
func (discard) Close() error { return nil }

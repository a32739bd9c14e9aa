package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// replaceFile leaves the old content or the new one, whenever the process or the machine ends.
func replaceFile(path string, content []byte, point string) error {
	file, err := os.OpenFile(path+next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	failpoint(point + ".written")
	if err == nil {
		err = os.Rename(path+next, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path+next))
	}
	failpoint(point + ".renamed")
	return syncFolder(filepath.Dir(path))
}

// removeFile removes what need not be there.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// makeFolder makes a folder, unless it is there, and gives it what it lacks of that mode, whatever the umask is.
func makeFolder(path string, mode fs.FileMode) error {
	made := os.Mkdir(path, mode)
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return made
	}
	info, err := os.Lstat(path)
	if err == nil && info.Mode().Perm()&mode != mode {
		err = os.Chmod(path, info.Mode().Perm()|mode)
	}
	if err == nil && made == nil {
		err = syncFolder(filepath.Dir(path))
	}
	return err
}

// syncFolder makes what was made, renamed or removed in a folder last.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// relocate moves a folder. Only who may write into it can do that, as its entry ".." changes: it is left writable.
func relocate(from, to string) error {
	if err := os.Chmod(from, 0o755); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return errors.Join(syncFolder(filepath.Dir(from)), syncFolder(filepath.Dir(to)))
}

// seal makes all that is below root read-only, and lasting. root itself stays writable until it is in its place: see relocate.
func seal(root *os.Root) error {
	var folders []string
	err := fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			folders = append(folders, path)
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o444)
		if info.Mode()&0o111 != 0 {
			mode = 0o555
		}
		return sealOne(root, path, mode)
	})
	for _, path := range slices.Backward(folders) { // a folder after what is in it
		mode := readable
		if path == "." {
			mode = 0o755
		}
		if err == nil {
			err = sealOne(root, path, mode)
		}
	}
	return err
}

func sealOne(root *os.Root, path string, mode fs.FileMode) error {
	file, err := root.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Chmod(mode), file.Sync(), file.Close())
}

// removeTree removes a folder with all that is in it, read-only or not. It need not be there.
func removeTree(path string) error {
	parent, err := os.OpenRoot(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	name := filepath.Base(path)
	if _, err := parent.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err = fs.WalkDir(parent.FS(), name, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			err = parent.Chmod(path, private)
		}
		return err
	})
	if err := errors.Join(err, parent.RemoveAll(name)); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

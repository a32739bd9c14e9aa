package isolation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// reachable returns an error that names the obstacle and its fix if other users cannot come to path. With exec they must
// also be able to read and execute it, without it to pass through its parents only.
func reachable(path string, exec bool) error {
	real, err := filepath.Abs(path)
	if err == nil {
		real, err = filepath.EvalSymlinks(real)
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if exec {
		if err := openTo(real, 0o005); err != nil {
			return err
		}
	}
	for dir := filepath.Dir(real); ; dir = filepath.Dir(dir) {
		if err := openTo(dir, 0o001); err != nil {
			return err
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// Reach returns an error with a fix if this host could give modules users of their own, but these could not come to path.
func (h *Host) Reach(path string) error {
	if h.can.users.size == 0 {
		return nil
	}
	return reachable(path, false)
}

func openTo(path string, others fs.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if info.Mode().Perm()&others == others {
		return nil
	}
	want := "o+x"
	if others == 0o005 {
		want = "o+rx"
	}
	return fmt.Errorf("a user of its own could not use %s (fix: chmod %s %s, or move the platform, for example to /srv)",
		path, want, path)
}

// letThrough lets other users pass through one of our folders, not look into it.
func letThrough(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o001 != 0 {
		return nil
	}
	return os.Chmod(dir, info.Mode().Perm()|0o011)
}

// giveTree makes a folder private to a user, with what is in it: files that we or one of our users left there. Others' and
// those with a second name it leaves alone, since whoever put them there may not own what they name. os.Root follows
// no link out of the folder, whatever the process of another instance does meanwhile.
func giveTree(dir string, uid int, ours userRange) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open a module's folder: %w", err)
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return give(root, path, uid, ours)
	})
	if err == nil {
		err = root.Chmod(".", 0o700)
	}
	if err != nil {
		return fmt.Errorf("hand a module its folder %s: %w", dir, err)
	}
	return nil
}

func give(root *os.Root, path string, uid int, ours userRange) error {
	info, err := root.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	owner := int(stat.Uid)
	switch {
	case !ok, owner == uid, owner != os.Getuid() && !ours.contains(owner), !info.IsDir() && stat.Nlink > 1:
		return nil
	}
	gid := uid
	if uid == os.Getuid() {
		gid = os.Getgid()
	}
	return root.Lchown(path, uid, gid)
}

package isolation

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
)

// Sandbox makes the cells of one data folder's processes. It is safe for concurrent use.
type Sandbox struct {
	host    *Host
	dataDir string
	users   *users // nil: processes share our user
	shared  string // why they do, though the host could give them their own; with a fix
	parents []parent
	seq     atomic.Uint64
}

// NewSandbox prepares dataDir, an absolute path: there it keeps which user belongs to which name, and it lets those users
// pass through, not look into, the folder. Of a data folder there must be one Sandbox at a time: what an earlier one left in
// its cgroups is ended.
func NewSandbox(host *Host, dataDir string) (*Sandbox, error) {
	s := &Sandbox{host: host, dataDir: dataDir}
	if err := s.openUsers(); err != nil {
		return nil, err
	}
	id := fnv.New64a()
	_, _ = id.Write([]byte(dataDir)) // never fails
	name := hex.EncodeToString(id.Sum(nil))
	for _, h := range host.can.groups {
		dir, err := h.prepare(name)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.parents = append(s.parents, parent{hierarchy: h, dir: dir})
	}
	for _, p := range s.parents {
		if err := p.sweep(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Sandbox) openUsers() error {
	if s.host.can.users.size == 0 {
		return nil
	}
	if err := reachable(s.dataDir, false); err != nil {
		s.shared = err.Error()
		return nil
	}
	given, err := openUsers(filepath.Join(s.dataDir, "users.json"), s.host.can.users)
	if err != nil {
		return err
	}
	s.users = given
	return letThrough(s.dataDir)
}

// Close removes the empty parents of the cgroups.
func (s *Sandbox) Close() error {
	dirs := make([]string, len(s.parents))
	for i, p := range s.parents {
		dirs[i] = p.dir
	}
	return removeGroups(dirs)
}

// Forget gives back the user of a name. None of its processes may run, and no file of that user's be left.
func (s *Sandbox) Forget(name string) error {
	if s.users == nil {
		return nil
	}
	return s.users.forget(name)
}

// User is the number that a name has; false if it has none.
func (s *Sandbox) User(name string) (uid int, found bool) {
	if s.users == nil {
		return 0, false
	}
	s.users.mu.Lock()
	defer s.users.mu.Unlock()
	uid, found = s.users.given[name]
	return uid, found
}

// Level is the best that a process gets in this sandbox: less than the host's if other users cannot come to the data folder.
func (s *Sandbox) Level() Level {
	if s.host.Level() == Full && s.shared != "" {
		return Landlock
	}
	return s.host.Level()
}

// Assess says how far a process would be kept apart, and why less than the host allows.
func (s *Sandbox) Assess(spec Spec) (Level, []string) {
	level := s.host.Level()
	if reason := s.sharedUser(spec); reason != "" {
		if level == Full {
			level = Landlock
		}
		return level, []string{reason}
	}
	return level, nil
}

// sharedUser says why the process cannot have a user of its own, though the host could give it one.
func (s *Sandbox) sharedUser(spec Spec) string {
	if s.host.can.users.size == 0 || s.shared != "" {
		return s.shared
	}
	for _, check := range []struct {
		path string
		exec bool
	}{{spec.Dir, true}, {spec.Executable, true}} {
		if err := reachable(check.path, check.exec); err != nil {
			return err.Error()
		}
	}
	return ""
}

// Cell makes a cell: folders are handed to the process's user, cgroups are made. The caller closes it, and on an error the image.
func (s *Sandbox) Cell(spec Spec) (*Cell, error) {
	for _, path := range []*string{&spec.Executable, &spec.Dir, &spec.Runtime} {
		absolute, err := filepath.Abs(*path) // the helper is in the folder already when it puts up the fence
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", *path, err)
		}
		*path = absolute
	}
	c := Open(spec)
	c.can = s.host.can
	c.Level, c.Notes = s.Assess(spec)
	if s.users != nil && len(c.Notes) == 0 {
		uid, err := s.users.of(spec.Name)
		if err != nil {
			return nil, err
		}
		c.UID = uid
	}
	if err := s.handOver(c); err != nil {
		return nil, err
	}
	c.group = &group{parents: s.parents, name: spec.Name + "-" + strconv.FormatUint(s.seq.Add(1), 10)}
	if err := c.group.make(spec.Limits); err != nil {
		return nil, err
	}
	c.record = &record{file: recordFile(spec.Runtime), Groups: c.group.dirs()}
	if err := c.record.save(); err != nil {
		return nil, errors.Join(err, c.group.remove())
	}
	return c, nil
}

// handOver makes the folders that the process writes its own.
func (s *Sandbox) handOver(c *Cell) error {
	own := c.UID != os.Getuid()
	if own {
		if err := letThrough(filepath.Dir(c.spec.Runtime)); err != nil {
			return err
		}
	}
	if err := giveTree(c.spec.Runtime, c.UID, s.host.can.users); err != nil {
		return err
	}
	if c.spec.Data == "" {
		return nil
	}
	if err := os.MkdirAll(c.spec.Data, 0o700); err != nil {
		return fmt.Errorf("make the module's data folder: %w", err)
	}
	if own {
		if err := letThrough(filepath.Dir(c.spec.Data)); err != nil {
			return err
		}
	}
	return giveTree(c.spec.Data, c.UID, s.host.can.users)
}

package isolation

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// userRange is a range of numbers that are nobody's.
type userRange struct{ first, size int }

func (r userRange) last() int { return r.first + r.size - 1 }

func (r userRange) contains(uid int) bool { return uid >= r.first && uid <= r.last() }

// freeUsers are ranges that no distribution hands out, best first: 0x70000000 and up is left unused by convention; the
// second, within what containers usually map, is set aside for users that exist only while a service runs.
func freeUsers() []userRange {
	return []userRange{{first: 0x70000000, size: 1 << 24}, {first: 61184, size: 4336}}
}

// usableUsers is the best range that our user namespace maps.
func usableUsers() (userRange, error) {
	for _, r := range freeUsers() {
		if mapped("/proc/self/uid_map", r) && mapped("/proc/self/gid_map", r) {
			return r, nil
		}
	}
	return userRange{}, errors.New("no range of free user ids is mapped into platformd's user namespace")
}

// mapped says whether one line of the map covers the whole range. A line is: first inside, first outside, count.
func mapped(file string, r userRange) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 {
			continue
		}
		first, err1 := strconv.Atoi(fields[0])
		count, err2 := strconv.Atoi(fields[2])
		if err1 == nil && err2 == nil && r.first >= first && r.last() < first+count {
			return true
		}
	}
	return false
}

// users gives each name a number of its own, for good: files of that number outlive the process.
type users struct {
	file string // where they are kept
	from userRange

	mu    sync.Mutex
	given map[string]int
}

func openUsers(file string, from userRange) (*users, error) {
	u := &users{file: file, from: from, given: map[string]int{}}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return u, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &u.given)
	}
	if err != nil {
		return nil, fmt.Errorf("read the users of modules from %s: %w (fix: restore the file, or remove it)", file, err)
	}
	return u, nil
}

// of returns the number of name. A new one begins at a place that depends on the file's, so that two platforms on one
// machine do not share numbers, and skips those in use.
func (u *users) of(name string) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if uid, found := u.given[name]; found && u.from.contains(uid) {
		return uid, nil
	}
	taken := make(map[int]bool, len(u.given))
	for _, uid := range u.given {
		taken[uid] = true
	}
	start := u.start(name)
	for i := range u.from.size {
		uid := u.from.first + (start+i)%u.from.size
		if taken[uid] || isReal(uid) {
			continue
		}
		u.given[name] = uid
		return uid, u.save()
	}
	return 0, errors.New("every free user id is taken (fix: remove modules)")
}

// forget gives a number back, once nothing of it is left.
func (u *users) forget(name string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, found := u.given[name]; !found {
		return nil
	}
	delete(u.given, name)
	return u.save()
}

func (u *users) start(name string) int {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(u.file + "\x00" + name)) // never fails
	return int(hash.Sum32()) % u.from.size
}

func isReal(uid int) bool {
	text := strconv.Itoa(uid)
	if _, err := user.LookupId(text); err == nil {
		return true
	}
	_, err := user.LookupGroupId(text)
	return err == nil
}

// save replaces the file as a whole: a core that is killed leaves the old or the new one.
func (u *users) save() error {
	text, err := json.MarshalIndent(u.given, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(u.file), ".users")
	if err != nil {
		return fmt.Errorf("keep the users of modules: %w", err)
	}
	_, err = file.Write(append(text, '\n'))
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), u.file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keep the users of modules: %w", err), os.Remove(file.Name()))
	}
	return nil
}

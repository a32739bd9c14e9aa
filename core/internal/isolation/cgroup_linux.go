package isolation

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// killFile is v2's way to kill a whole group at once; it is named here like a controller.
const killFile = "cgroup.kill"

// parentPrefix begins the name of the group that holds the groups of one data folder's processes.
const parentPrefix = "platformd-modules-"

// hierarchy is one mounted tree of cgroups and what it can limit.
type hierarchy struct {
	version     int
	base        string   // our own group, as a folder
	controllers []string // of memory, pids, cpu; and killFile
}

func (h hierarchy) has(controller string) bool { return slices.Contains(h.controllers, controller) }

func limits(groups []hierarchy, controller string) bool {
	return slices.ContainsFunc(groups, func(h hierarchy) bool { return h.has(controller) })
}

// findHierarchies returns the trees that have a controller we use, v2 or v1: a controller is in one of the two only.
func findHierarchies() ([]hierarchy, error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer mounts.Close()
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	var found []hierarchy
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		if h, ok := parseMount(lines.Text(), string(own)); ok {
			found = append(found, h)
		}
	}
	return found, nil
}

// parseMount reads one line of mountinfo; own is /proc/self/cgroup. Of a line these fields matter: the fourth, which part
// of the tree is mounted; the fifth, where; and behind " - " the type and, last, the tree's own options.
func parseMount(line, own string) (hierarchy, bool) {
	place, kind, found := strings.Cut(line, " - ")
	where, what := strings.Fields(place), strings.Fields(kind)
	if !found || len(where) < 5 || len(what) < 3 {
		return hierarchy{}, false
	}
	h := hierarchy{version: 1}
	tree := "" // how /proc/self/cgroup names it
	switch what[0] {
	case "cgroup2":
		h.version = 2
	case "cgroup":
		for _, option := range strings.Split(what[2], ",") {
			if option == "memory" || option == "pids" || option == "cpu" {
				h.controllers, tree = append(h.controllers, option), option
			}
		}
		if tree == "" {
			return hierarchy{}, false
		}
	default:
		return hierarchy{}, false
	}
	path, found := ownGroup(own, tree)
	if !found {
		return hierarchy{}, false
	}
	h.base = filepath.Join(where[4], strings.TrimPrefix(path, strings.TrimSuffix(where[3], "/")))
	return h, true
}

// ownGroup finds the line of a tree, which begins with a number, its controllers, and the path: "4:memory:/a".
func ownGroup(own, tree string) (path string, found bool) {
	for line := range strings.Lines(own) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if tree == "" && parts[0] == "0" && parts[1] == "" || tree != "" && slices.Contains(strings.Split(parts[1], ","), tree) {
			return parts[2], true
		}
	}
	return "", false
}

// usable keeps what we may use: where we may make groups, and what those can do.
func usable(all []hierarchy) []hierarchy {
	var kept []hierarchy
	for _, h := range all {
		trial := filepath.Join(h.base, fmt.Sprintf("%strial-%d", parentPrefix, os.Getpid()))
		if err := os.Mkdir(trial, 0o755); err != nil {
			continue
		}
		if h.version == 2 {
			h.controllers = h.available(trial)
		}
		if os.Remove(trial) == nil && len(h.controllers) > 0 {
			kept = append(kept, h)
		}
	}
	return kept
}

// available returns what groups below ours, such as trial, can do in v2; nothing where a kernel before 5.14 cannot kill a
// group. A group with processes cannot pass controllers on, unless it is the root: then we must be able to move to a group
// beside those of the modules.
func (h hierarchy) available(trial string) []string {
	if _, err := os.Stat(filepath.Join(trial, killFile)); err != nil {
		return nil
	}
	controllers := []string{killFile}
	have := fieldsOf(filepath.Join(h.base, "cgroup.controllers"))
	passed := fieldsOf(filepath.Join(h.base, "cgroup.subtree_control"))
	alone := h.alone()
	for _, controller := range []string{"memory", "pids", "cpu"} {
		if slices.Contains(have, controller) && (alone || slices.Contains(passed, controller)) {
			controllers = append(controllers, controller)
		}
	}
	return controllers
}

// alone says whether no other process would have to move with us. The root need not be left: it has no cgroup.type.
func (h hierarchy) alone() bool {
	if _, err := os.Stat(filepath.Join(h.base, "cgroup.type")); errors.Is(err, fs.ErrNotExist) {
		return true
	}
	for _, pid := range fieldsOf(filepath.Join(h.base, "cgroup.procs")) {
		if pid != strconv.Itoa(os.Getpid()) {
			return false
		}
	}
	return true
}

func fieldsOf(file string) []string {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

// prepare makes the parent of the groups of one data folder, and in v2 passes the controllers on to its children.
func (h hierarchy) prepare(id string) (parent string, err error) {
	parent = filepath.Join(h.base, parentPrefix+id)
	if err := os.Mkdir(parent, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make a cgroup: %w", err)
	}
	if h.version == 1 {
		return parent, nil
	}
	for _, controller := range h.controllers {
		if controller == killFile {
			continue
		}
		if err := h.pass(controller); err != nil {
			return "", err
		}
		if err := write(filepath.Join(parent, "cgroup.subtree_control"), "+"+controller); err != nil {
			return "", fmt.Errorf("pass the controller %s on: %w", controller, err)
		}
	}
	return parent, nil
}

// pass makes the children of our own group have the controller. We leave the group for one beside them if need be.
func (h hierarchy) pass(controller string) error {
	control := filepath.Join(h.base, "cgroup.subtree_control")
	if slices.Contains(fieldsOf(control), controller) || write(control, "+"+controller) == nil {
		return nil
	}
	aside := filepath.Join(h.base, "platformd")
	if err := os.Mkdir(aside, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the core's own cgroup: %w", err)
	}
	if err := write(filepath.Join(aside, "cgroup.procs"), strconv.Itoa(os.Getpid())); err != nil {
		return fmt.Errorf("move to the core's own cgroup: %w", err)
	}
	if err := write(control, "+"+controller); err != nil {
		return fmt.Errorf("pass the controller %s on: %w", controller, err)
	}
	return nil
}

package isolation

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseMount(t *testing.T) {
	t.Parallel()
	const own = "9:name=systemd:/\n8:pids:/a\n4:memory:/b/c\n1:cpu,cpuacct:/\n0::/user.slice/s.scope\n"
	for name, c := range map[string]struct {
		line string
		want hierarchy
	}{
		"v1 memory": {"30 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
			hierarchy{version: 1, base: "/sys/fs/cgroup/memory/b/c", controllers: []string{"memory"}}},
		"v1, two in one": {"30 25 0:26 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu,cpuacct",
			hierarchy{version: 1, base: "/sys/fs/cgroup/cpu", controllers: []string{"cpu"}}},
		"v1, part of the tree": {"30 25 0:26 /b /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
			hierarchy{version: 1, base: "/sys/fs/cgroup/memory/c", controllers: []string{"memory"}}},
		"v2": {"30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate",
			hierarchy{version: 2, base: "/sys/fs/cgroup/user.slice/s.scope"}},
		"v1 without use": {"30 25 0:26 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer", hierarchy{}},
		"a named tree":   {"30 25 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd", hierarchy{}},
		"no cgroup":      {"30 25 0:26 / /proc rw - proc proc rw", hierarchy{}},
		"cut off":        {"30 25", hierarchy{}},
	} {
		got, ok := parseMount(c.line, own)
		require.Equal(t, c.want, got, name)
		require.Equal(t, c.want.version != 0, ok, name)
	}
}

// tree lays out files as the kernel would; those that are written must be there.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func content(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(text)
}

func TestControllersOfV2(t *testing.T) {
	t.Parallel()
	us := strconv.Itoa(os.Getpid()) + "\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"delegated to us alone": {map[string]string{"trial/cgroup.kill": "", "cgroup.type": "domain", "cgroup.procs": us,
			"cgroup.controllers": "cpuset cpu io memory pids\n", "cgroup.subtree_control": ""},
			[]string{killFile, "memory", "pids", "cpu"}},
		"shared with others": {map[string]string{"trial/cgroup.kill": "", "cgroup.type": "domain", "cgroup.procs": us + "1\n",
			"cgroup.controllers": "cpu memory pids\n", "cgroup.subtree_control": "memory\n"}, []string{killFile, "memory"}},
		"the root": {map[string]string{"trial/cgroup.kill": "", "cgroup.procs": us + "1\n",
			"cgroup.controllers": "memory pids\n", "cgroup.subtree_control": ""}, []string{killFile, "memory", "pids"}},
		"hybrid": {map[string]string{"trial/cgroup.kill": "", "cgroup.controllers": ""}, []string{killFile}},
		"old":    {map[string]string{"cgroup.controllers": "memory pids\n"}, nil},
	} {
		dir := tree(t, c.files)
		require.Equal(t, c.want, hierarchy{version: 2, base: dir}.available(filepath.Join(dir, "trial")), name)
	}
}

func TestV2PassesControllersOn(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"cgroup.subtree_control": "", parentPrefix + "x/cgroup.subtree_control": ""})
	h := hierarchy{version: 2, base: dir, controllers: []string{killFile, "memory"}}
	parent, err := h.prepare("x")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, parentPrefix+"x"), parent)
	require.Equal(t, "+memory", content(t, dir, "cgroup.subtree_control"))
	require.Equal(t, "+memory", content(t, parent, "cgroup.subtree_control"))
}

func TestSettings(t *testing.T) {
	t.Parallel()
	l := Limits{Memory: 64 << 20, CPU: 0.5, PIDs: 100}
	files := func(h hierarchy, l Limits) map[string]string {
		all := map[string]string{}
		for _, s := range settings(h, l) {
			all[s.file] = s.value
		}
		return all
	}
	every := []string{"memory", "pids", "cpu"}
	require.Equal(t, map[string]string{"memory.max": "67108864", "memory.swap.max": "0", "memory.oom.group": "1",
		"pids.max": "100", "cpu.max": "50000 100000", "cpu.max.burst": "50000"}, files(hierarchy{version: 2, controllers: every}, l))
	require.Equal(t, map[string]string{"memory.limit_in_bytes": "67108864", "memory.memsw.limit_in_bytes": "67108864",
		"pids.max": "100", "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000", "cpu.cfs_burst_us": "50000"},
		files(hierarchy{version: 1, controllers: every}, l))
	require.Empty(t, files(hierarchy{version: 2, controllers: every}, Limits{}))
	require.Equal(t, map[string]string{"pids.max": "100"}, files(hierarchy{version: 1, controllers: []string{"pids"}}, l))
}

func TestReasonsAreReadFromTheGroup(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"v2 oom": {map[string]string{"g/memory.events": "low 0\noom 1\noom_kill 1\n"}, "oom (over its memory limit of 64 MiB)"},
		"v1 oom": {map[string]string{"g/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"},
			"oom (over its memory limit of 64 MiB)"},
		"neither": {map[string]string{"g/memory.events": "oom_kill 0\n", "g/pids.events": "max 0\n"}, "signal killed"},
		"pids":    {map[string]string{"g/pids.events": "max 7\n"}, "signal killed (pids: over its limit of 9 processes and threads)"},
	} {
		h := hierarchy{version: 2, controllers: []string{"memory", "pids"}}
		cell := &Cell{spec: Spec{Limits: Limits{Memory: 64 << 20, PIDs: 9}}}
		cell.group = &group{parents: []parent{{hierarchy: h, dir: tree(t, c.files)}}, name: "g"}
		require.Equal(t, c.want, cell.Explain("signal killed"), name)
	}
}

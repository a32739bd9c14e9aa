package report

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Machine is where a run took place.
type Machine struct {
	CPU       string `json:"cpu"`
	Cores     int    `json:"cores"`
	MemoryMiB int64  `json:"memory_mib"`
	Kernel    string `json:"kernel"`
	System    string `json:"system"`
	Go        string `json:"go"`
}

// ThisMachine looks around; what it cannot find out is "unknown".
func ThisMachine() Machine {
	return Machine{
		CPU:       field("/proc/cpuinfo", "model name", ":"),
		Cores:     runtime.NumCPU(),
		MemoryMiB: memory(),
		Kernel:    kernel(),
		System:    strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`),
		Go:        strings.TrimPrefix(runtime.Version(), "go"),
	}
}

// field finds the first line "name SEPARATOR value" of a file.
func field(path, name, separator string) string {
	file, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		key, value, found := strings.Cut(lines.Text(), separator)
		if found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func memory() int64 {
	kib, err := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal", ":"), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return kib >> 10
}

func kernel() string {
	content, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return "Linux " + strings.TrimSpace(string(content))
}

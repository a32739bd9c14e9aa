package instance_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	pluginapi "github.com/platformd/platformd/plugin-api"
)

func systemModules() map[string]func() pluginapi.Module {
	return map[string]func() pluginapi.Module{"spy": spy}
}

// spy tries what a module must not be able to do, and tells how it went.
func spy() pluginapi.Module {
	module := good()
	module.Routes["try"] = func(w http.ResponseWriter, r *http.Request) error {
		attempt, found := attempts()[r.PathValue("what")]
		if !found {
			return fmt.Errorf("no attempt %q", r.PathValue("what"))
		}
		said, err := attempt(r.PathValue("on"))
		if err != nil {
			said = "refused: " + err.Error()
		}
		_, err = io.WriteString(w, said)
		return err
	}
	return module
}

func attempts() map[string]func(on string) (string, error) {
	return map[string]func(string) (string, error){
		"environ": func(string) (string, error) { return strings.Join(os.Environ(), "\n"), nil },
		"read":    func(file string) (string, error) { text, err := os.ReadFile(file); return string(text), err },
		"list":    list,
		"write":   func(file string) (string, error) { return "written", os.WriteFile(file, []byte("x"), 0o600) },
		"crowd": func(socket string) (string, error) { // of 40 connections at a time, how many are served
			served := 0
			for range 40 {
				conn, err := net.DialTimeout("unix", socket, 10*time.Second)
				if err != nil {
					return "", err
				}
				defer conn.Close()
				if n, _ := conn.Read(make([]byte, 1)); n == 1 {
					served++
				}
			}
			return strconv.Itoa(served), nil
		},
		"dial": func(socket string) (string, error) {
			conn, err := net.DialTimeout("unix", socket, 10*time.Second)
			if err != nil {
				return "", err
			}
			defer conn.Close()
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			_, err = conn.Read(make([]byte, 1))
			return "connected", err
		},
		"attach":  onPID(unix.PtraceAttach),
		"memory":  onPID(readMemory),
		"kill":    onPID(func(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) }),
		"execute": func(file string) (string, error) { return copyAndRun(file) },
		"spawn": func(string) (string, error) {
			out, err := exec.Command("/bin/sh", "-c", "echo from a shell").CombinedOutput()
			return string(out), err
		},
		"id":       func(string) (string, error) { return strconv.Itoa(os.Getuid()), nil },
		"files":    func(string) (string, error) { return openMany() },
		"allocate": func(string) (string, error) { return allocate() },
		"fork":     func(string) (string, error) { return forkMany() },
	}
}

func onPID(act func(pid int) error) func(string) (string, error) {
	return func(on string) (string, error) {
		pid, err := strconv.Atoi(on)
		if err != nil {
			return "", err
		}
		return "done", act(pid)
	}
}

func list(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return strings.Join(names, " "), err
}

func readMemory(pid int) error {
	into := make([]byte, 16)
	local := []unix.Iovec{{Base: &into[0], Len: uint64(len(into))}}
	_, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: 0x400000, Len: len(into)}}, 0)
	return err
}

func copyAndRun(file string) (string, error) {
	text, err := os.ReadFile("/bin/true")
	if err == nil {
		err = os.WriteFile(file, text, 0o700)
	}
	if err != nil {
		return "", err
	}
	return "ran", exec.Command(file).Run()
}

func openMany() (string, error) {
	for n := 0; ; n++ {
		f, err := os.Open("/dev/null")
		if err != nil {
			return strconv.Itoa(n), nil
		}
		defer f.Close()
	}
}

func allocate() (string, error) {
	var all [][]byte
	for range 1 << 10 {
		block := make([]byte, 1<<20)
		for i := range block {
			block[i] = 1
		}
		all = append(all, block)
	}
	return strconv.Itoa(len(all)), nil
}

// forkMany ends the process when it cannot fork, as Go's runtime does when it gets no thread.
func forkMany() (string, error) {
	for n := range 1000 {
		if err := exec.Command("/bin/sleep", "1000").Start(); err != nil {
			os.Exit(100 + min(n, 100))
		}
	}
	return "a thousand", nil
}

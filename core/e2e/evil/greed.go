package main

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	pluginapi "github.com/platformd/platformd/plugin-api"
)

// greed takes more of the machine than is the module's.
type greed struct {
	memory   [][]byte
	files    []*os.File
	children []*exec.Cmd
}

// maxForks bounds the fork bomb, should nobody else.
const maxForks = 2000

// allocate touches a gigabyte.
func (g *greed) allocate(w http.ResponseWriter, _ *http.Request) error {
	for range 64 {
		block := make([]byte, 16<<20)
		for i := 0; i < len(block); i += os.Getpagesize() {
			block[i] = 1
		}
		g.memory = append(g.memory, block)
	}
	return pluginapi.WriteJSON(w, http.StatusOK, len(g.memory))
}

// fork starts processes until it may not start more, and says how many there are.
func (g *greed) fork(w http.ResponseWriter, _ *http.Request) error {
	for len(g.children) < maxForks {
		child, err := startChild()
		if err != nil {
			return pluginapi.WriteJSON(w, http.StatusOK, map[string]any{"forks": len(g.children), "error": err.Error()})
		}
		g.children = append(g.children, child)
	}
	return pluginapi.WriteJSON(w, http.StatusOK, map[string]any{"forks": len(g.children)})
}

// startChild starts this binary again in a session of its own, where a kill of our group does not reach it; it holds our
// standard error and does nothing.
func startChild() (*exec.Cmd, error) {
	child := exec.Command("/proc/self/exe") //nolint:noctx // it is to outlive everything
	child.Args[0] = os.Args[0]
	child.Env = []string{"EVIL_MODE=silent"}
	child.Stderr = os.NewFile(2, "stderr")
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return child, child.Start()
}

// grandchild leaves one child, and says its number, as seen from here.
func (g *greed) grandchild(w http.ResponseWriter, _ *http.Request) error {
	child, err := startChild()
	if err != nil {
		return err
	}
	return pluginapi.WriteJSON(w, http.StatusOK, child.Process.Pid)
}

// open opens files until it may not open more, and says how many there are.
func (g *greed) open(w http.ResponseWriter, _ *http.Request) error {
	for {
		file, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		g.files = append(g.files, file)
	}
	opened := len(g.files)
	for _, file := range g.files {
		_ = file.Close()
	}
	g.files = nil
	return pluginapi.WriteJSON(w, http.StatusOK, opened)
}

// flood writes to standard error for ?ms= milliseconds as fast as it can, in lines or, with ?lines=no, without an end.
func flood(w http.ResponseWriter, r *http.Request) error {
	ms, err := strconv.Atoi(r.URL.Query().Get("ms"))
	if err != nil {
		return err
	}
	line := bytes.Repeat([]byte("x"), 1023)
	if r.URL.Query().Get("lines") != "no" {
		line = append(line, '\n')
	}
	block := bytes.Repeat(line, 64)
	written := 0
	for end := time.Now().Add(time.Duration(ms) * time.Millisecond); time.Now().Before(end); {
		n, err := syscall.Write(2, block)
		if err != nil {
			return err
		}
		written += n
	}
	return pluginapi.WriteJSON(w, http.StatusOK, written)
}

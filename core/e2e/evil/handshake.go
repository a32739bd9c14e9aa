package main

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// modeOf is EVIL_MODE or, of a twin that the tests laid out under a name of its own, what follows evil_ in that.
func modeOf() string {
	if mode, chosen := os.LookupEnv("EVIL_MODE"); chosen {
		return mode
	}
	return strings.ReplaceAll(strings.TrimPrefix(filepath.Base(os.Args[0]), "evil_"), "_", "-")
}

// mishandshake is what goes wrong in a handshake that looks almost right, or that never ends.
func mishandshake(mode string) {
	folder := os.TempDir() // the instance's own
	switch mode {
	case "half-line":
		fmt.Print("1|1|unix")
		sleep()
	case "terminal-line":
		fmt.Println("\x1b[2J\x1b]0;owned\x07\x00\xff")
		sleep()
	case "empty-fields":
		fmt.Println("1||||")
		sleep()
	case "climbing-socket":
		fmt.Printf("1|1|unix|%s/../1/plugin.sock|grpc|\n", folder)
		sleep()
	case "linked-socket":
		speakThroughLink(folder)
	case "stdout-flood":
		floodForEver(1)
	case "stderr-flood":
		floodForEver(2)
	case "deaf":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	}
}

// speakThroughLink offers a socket that lies where the core expects it, and leads to the control socket of the core.
func speakThroughLink(folder string) {
	link := filepath.Join(folder, "link.sock")
	if err := os.Symlink(filepath.Join(folder, "../../control.sock"), link); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("1|1|unix|%s|grpc|\n", link)
	sleep()
}

// floodForEver writes as fast as it is read, and ends no line.
func floodForEver(descriptor int) {
	block := bytes.Repeat([]byte("x"), 64<<10)
	for {
		if _, err := syscall.Write(descriptor, block); err != nil {
			sleep()
		}
	}
}

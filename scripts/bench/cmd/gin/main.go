// Command gin is the contestant that all others are compared with: handlers in gin's own process. It is also what nginx,
// HAProxy and Caddy stand in front of.
package main

import (
	"fmt"
	"os"

	"github.com/platformd/platformd/scripts/bench/internal/front"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gin HOST:PORT|unix:PATH")
		os.Exit(2)
	}
	if err := front.Run(os.Args[1], front.Here); err != nil {
		fmt.Fprintln(os.Stderr, "error: "+err.Error())
		os.Exit(1)
	}
}

// Command load is the load generator for what wrk cannot ask: streams of events and WebSockets. It prints a latency.Sample as
// JSON. It speaks its protocols by hand, as every cycle it takes is missing on the other side of a shared machine.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/platformd/platformd/scripts/bench/internal/latency"
)

// pause follows a failure, so that a contestant that is down is not asked in a tight loop.
const pause = 10 * time.Millisecond

// exchange is one request of a kind on a connection that is ready for it.
type exchange func() error

// protocol makes a new connection ready for exchanges.
type protocol func(conn net.Conn, host, path string) (exchange, error)

func main() {
	kind := flag.String("kind", "", "sse or ws")
	address := flag.String("address", "", "HOST:PORT to load")
	path := flag.String("path", "", "path of the route")
	connections := flag.Int("connections", 1, "connections at a time")
	duration := flag.Duration("duration", time.Second, "how long")
	flag.Parse()
	speak := map[string]protocol{"sse": speakSSE, "ws": speakWebSocket}[*kind]
	if speak == nil || *address == "" || *connections < 1 {
		fmt.Fprintln(os.Stderr, "usage: load -kind sse|ws -address HOST:PORT -path /PATH [-connections N] [-duration D]")
		os.Exit(2)
	}
	began := time.Now()
	ctx, cancel := context.WithDeadline(context.Background(), began.Add(*duration))
	defer cancel()
	c := &client{speak: speak, address: *address, path: *path}
	sample := latency.Summarize(c.all(ctx, *connections), time.Since(began))
	if err := json.NewEncoder(os.Stdout).Encode(sample); err != nil {
		fmt.Fprintln(os.Stderr, "print the result: "+err.Error())
		os.Exit(1)
	}
}

// client loads one route of one server.
type client struct {
	speak         protocol
	address, path string
}

// all runs the connections until ctx ends.
func (c *client) all(ctx context.Context, connections int) []latency.Tally {
	tallies := make([]latency.Tally, connections)
	var group sync.WaitGroup
	for i := range tallies {
		group.Go(func() {
			for ctx.Err() == nil {
				err := c.one(ctx, &tallies[i])
				if err == nil || ctx.Err() != nil || overdue(err) {
					return
				}
				tallies[i].Fail(err)
				rest(ctx)
			}
		})
	}
	group.Wait()
	return tallies
}

// overdue reports whether err is the end of the time, which a connection may notice before ctx does.
func overdue(err error) bool {
	var late net.Error
	return errors.As(err, &late) && late.Timeout()
}

func rest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	<-ctx.Done()
}

// one connects, and makes exchanges until something fails or ctx ends.
func (c *client) one(ctx context.Context, t *latency.Tally) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close() }()
	end, _ := ctx.Deadline()
	if err := conn.SetDeadline(end); err != nil {
		return err
	}
	next, err := c.speak(conn, c.address, c.path)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		began := time.Now()
		if err := next(); err != nil {
			return err
		}
		t.Add(time.Since(began))
	}
	return nil
}

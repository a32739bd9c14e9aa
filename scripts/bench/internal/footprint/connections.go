//go:build linux

package footprint

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/platformd/platformd/scripts/bench/internal/handler"
	"github.com/platformd/platformd/scripts/bench/internal/proc"
)

const (
	connections = 1000
	perAddress  = 250 // of ours: a gateway may cap the connections of one client
	warmups     = 50  // requests before, so that what a first request allocates is not counted
)

// connections returns the core's memory before and what 1,000 connections add that have asked once and are kept.
func (d *daemon) connections(ctx context.Context) (before, added int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := d.warmUp(ctx); err != nil {
		return 0, 0, err
	}
	if before, err = proc.RSS(d.platform.PID()); err != nil {
		return 0, 0, err
	}
	open := make([]net.Conn, 0, connections)
	defer func() {
		for _, conn := range open {
			_ = conn.Close()
		}
	}()
	for i := range connections {
		conn, err := d.connect(ctx, i/perAddress)
		if err != nil {
			return 0, 0, fmt.Errorf("open connection %d: %w", i, err)
		}
		open = append(open, conn)
		if err := ask(conn); err != nil {
			return 0, 0, fmt.Errorf("ask on connection %d: %w", i, err)
		}
	}
	after, err := proc.RSS(d.platform.PID())
	return before, after - before, err
}

func (d *daemon) warmUp(ctx context.Context) error {
	conn, err := d.connect(ctx, 0)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close() }()
	for range warmups {
		if err := ask(conn); err != nil {
			return err
		}
	}
	return nil
}

// connect dials from the nth loopback address after 127.0.0.1.
func (d *daemon) connect(ctx context.Context, n int) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+n))}}
	conn, err := dialer.DialContext(ctx, "tcp", d.platform.Address)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	return conn, conn.SetDeadline(deadline)
}

// ask makes one request and leaves the connection open.
func ask(conn net.Conn) error {
	if _, err := fmt.Fprintf(conn, "GET %s/get HTTP/1.1\r\nHost: bench\r\n\r\n", handler.Prefix); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || res.Close {
		return fmt.Errorf("answered %s, and closes the connection: %t", res.Status, res.Close)
	}
	return nil
}

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/platformd/platformd/scripts/bench/internal/handler"
)

// speakSSE reads one whole stream per exchange, and counts its events.
func speakSSE(conn net.Conn, host, path string) (exchange, error) {
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", path, host)
	reader, buffer := bufio.NewReaderSize(conn, 64<<10), make([]byte, 64<<10)
	return func() error {
		if _, err := conn.Write(request); err != nil {
			return fmt.Errorf("ask for a stream: %w", err)
		}
		res, err := http.ReadResponse(reader, nil)
		if err != nil {
			return fmt.Errorf("read the head of a stream: %w", err)
		}
		defer func() { _ = res.Body.Close() }()
		events, err := countEvents(res.Body, buffer)
		switch {
		case err != nil:
			return fmt.Errorf("read a stream: %w", err)
		case res.StatusCode != http.StatusOK || events != handler.Events:
			return fmt.Errorf("answered %s with %d events, not %d", res.Status, events, handler.Events)
		case res.Close:
			return errors.New("the server closed the connection after a stream")
		}
		return nil
	}, nil
}

// countEvents counts the newlines up to the end: every event has two.
func countEvents(body io.Reader, buffer []byte) (int, error) {
	newlines := 0
	for {
		n, err := body.Read(buffer)
		newlines += bytes.Count(buffer[:n], []byte("\n"))
		if errors.Is(err, io.EOF) {
			return newlines / 2, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

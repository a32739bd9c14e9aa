package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
)

const (
	messageSize = 64
	finalBinary = 0x82 // first byte of a frame: the whole message, binary
	masked      = 0x80 // in the second byte of a client's frames
)

// speakWebSocket upgrades the connection; an exchange is a message and its echo (RFC 6455).
func speakWebSocket(conn net.Conn, host, path string) (exchange, error) {
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: cGxhdGZvcm1kIGJlbmNoIQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", path, host)
	if err != nil {
		return nil, fmt.Errorf("ask for a WebSocket: %w", err)
	}
	reader := bufio.NewReader(conn)
	res, err := http.ReadResponse(reader, nil)
	if err != nil {
		return nil, fmt.Errorf("open a WebSocket: %w", err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("open a WebSocket: answered %s", res.Status)
	}
	sent, want := frames()
	got := make([]byte, len(want))
	return func() error {
		if _, err := conn.Write(sent); err != nil {
			return fmt.Errorf("send a message: %w", err)
		}
		if _, err := io.ReadFull(reader, got); err != nil {
			return fmt.Errorf("read an echo: %w", err)
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("sent a message and got another one back: % x", got)
		}
		return nil
	}, nil
}

// frames returns a message as the client sends it, masked, and as the server sends it back, bare.
func frames() (sent, want []byte) {
	mask := []byte{0x12, 0x34, 0x56, 0x78}
	sent = append([]byte{finalBinary, masked | messageSize}, mask...)
	want = []byte{finalBinary, messageSize}
	for i := range messageSize {
		char := byte('a' + i%26)
		sent, want = append(sent, char^mask[i%4]), append(want, char)
	}
	return sent, want
}

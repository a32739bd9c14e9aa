package http1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

// tunnelBuffer is what each direction of a quiet tunnel holds. One that fills it gets a larger one: most upgraded
// connections carry small messages, and there may be many of them.
const tunnelBuffer = 4 << 10

// switchProtocols answers 101 on the client's connection. Then the module gets the client's socket, if that is possible; else
// bytes are copied both ways until both directions have ended.
func (x *exchange) switchProtocols(protocol string) error {
	if protocol == "" || !strings.EqualFold(x.answer.upgrade, protocol) {
		return x.failure(fmt.Errorf("%w: it switches to protocol %q, the client asked for %q",
			errHeadSyntax, x.answer.upgrade, protocol))
	}
	client, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return x.failure(fmt.Errorf("take over the client's connection: %w", err))
	}
	defer client.Close()
	if err := x.welcome(client, buffered); err != nil {
		return nil // the client is gone, and there is nobody left to tell
	}
	if x.lend != nil && x.answer.takes {
		x.handOver()
	} else {
		x.tunnel(client)
	}
	return nil
}

// welcome sends each side what the other one has already said. Hijack has cleared the client's deadlines.
func (x *exchange) welcome(client net.Conn, buffered *bufio.ReadWriter) error {
	header := x.w.Header()
	x.answer.Length = -1 // 101 has no body
	x.answer.CopyTo(header, false)
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", x.answer.upgrade)
	if _, err := buffered.WriteString("HTTP/1.1 101 Switching Protocols\r\n"); err != nil {
		return err
	}
	if err := header.Write(buffered); err != nil {
		return err
	}
	if _, err := buffered.WriteString("\r\n"); err != nil {
		return err
	}
	early, _ := x.conn.reader.Peek(x.conn.reader.Buffered())
	if _, err := buffered.Write(early); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	sent, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	_, err := x.conn.Write(sent)
	return err
}

// tunnel copies both ways. The end of one direction is passed on and leaves the other one open; a failure ends both.
func (x *exchange) tunnel(client net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		pump(x.conn.UnixConn, client)
	}()
	pump(client, x.conn.UnixConn)
	<-done
}

// pump copies from src to dst until src ends, then ends dst's writing side. If that or a copy fails, it closes dst: the pump
// of the other direction reads from it, and so ends too.
func pump(dst, src net.Conn) {
	err := copyPieces(dst, src)
	if half, ok := dst.(interface{ CloseWrite() error }); ok && errors.Is(err, io.EOF) && half.CloseWrite() == nil {
		return
	}
	_ = dst.Close()
}

func copyPieces(dst io.Writer, src io.Reader) error {
	buf := make([]byte, tunnelBuffer)
	large := false
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		if n == len(buf) && !large {
			pooled := hop.GetBuffer()
			defer hop.PutBuffer(pooled)
			buf, large = pooled[:], true
		}
	}
}

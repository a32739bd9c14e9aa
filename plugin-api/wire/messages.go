package wire

import (
	"bufio"
	"io"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
)

// MaxPublishing is how many connections to its events socket a module may have.
const MaxPublishing = 16

// Messages are messages of protobuf on a connection that carries nothing else, each preceded by its size in bytes, a varint
// (package protodelim). Whoever waits for one reads it themselves: a gRPC stream has two goroutines at each end that pass it on.
// One goroutine may use Messages at a time.
type Messages struct {
	in  *bufio.Reader
	out *bufio.Writer
}

// NewMessages returns those of a connection, which remains the caller's to close.
func NewMessages(conn io.ReadWriter) *Messages {
	return &Messages{bufio.NewReader(conn), bufio.NewWriter(conn)}
}

// Send writes one message.
func (m *Messages) Send(message proto.Message) error {
	if _, err := protodelim.MarshalTo(m.out, message); err != nil {
		return err
	}
	return m.out.Flush()
}

// Receive reads the next message, of at most MaxMessage bytes. The error is io.EOF if the other side has closed the connection
// before it.
func (m *Messages) Receive(into proto.Message) error {
	return protodelim.UnmarshalOptions{MaxSize: MaxMessage}.UnmarshalFrom(m.in, into)
}

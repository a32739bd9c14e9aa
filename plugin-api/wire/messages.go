package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
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
	in     *bufio.Reader
	out    io.Writer
	buffer []byte // of what is sent
}

// keptBuffer is how large a buffer is kept for the next message, in bytes.
const keptBuffer = 64 << 10

// NewMessages returns those of a connection, which remains the caller's to close.
func NewMessages(conn io.ReadWriter) *Messages {
	return &Messages{in: bufio.NewReader(conn), out: conn}
}

// ErrTooLarge is that of a message which would have more than MaxMessage bytes. Nothing was written.
var ErrTooLarge = fmt.Errorf("the message has more than %d bytes", MaxMessage)

// Send writes one message, at once. Errors: ErrTooLarge, and the connection's.
func (m *Messages) Send(message proto.Message) error {
	size := proto.Size(message)
	if size > MaxMessage {
		return ErrTooLarge
	}
	sized := binary.AppendUvarint(m.buffer[:0], uint64(size)) //nolint:gosec // it is not negative
	sized, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(sized, message)
	if err != nil {
		return err
	}
	if cap(sized) <= keptBuffer {
		m.buffer = sized
	}
	_, err = m.out.Write(sized)
	return err
}

// Receive reads the next message, of at most MaxMessage bytes. The error is io.EOF if the other side has closed the connection
// before it.
func (m *Messages) Receive(into proto.Message) error {
	return protodelim.UnmarshalOptions{MaxSize: MaxMessage}.UnmarshalFrom(m.in, into)
}

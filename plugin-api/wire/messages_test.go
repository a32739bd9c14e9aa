package wire_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/platformd/platformd/plugin-api/wire"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// counted counts the writes to a connection.
type counted struct {
	bytes.Buffer
	writes int
}

// Write implements io.Writer.
func (c *counted) Write(p []byte) (int, error) {
	c.writes++
	return c.Buffer.Write(p)
}

func TestMessages(t *testing.T) {
	t.Parallel()
	conn := &counted{}
	messages := wire.NewMessages(conn)
	texts := []string{"", "one", strings.Repeat("x", 1<<20)}
	require.NoError(t, messages.Send(&corev1.PublishOutcome{Message: "small"}))
	require.Equal(t, 1, conn.writes, "a message wakes the other side once")
	require.NoError(t, messages.Receive(&corev1.PublishOutcome{}))
	for _, text := range texts {
		require.NoError(t, messages.Send(&corev1.PublishOutcome{Message: text}))
	}
	for _, text := range texts {
		got := &corev1.PublishOutcome{}
		require.NoError(t, messages.Receive(got))
		require.Equal(t, text, got.GetMessage())
	}
	require.ErrorIs(t, messages.Receive(&corev1.PublishOutcome{}), io.EOF)
}

func TestMessagesThatAreNone(t *testing.T) {
	t.Parallel()
	receive := func(sent []byte) error {
		return wire.NewMessages(bytes.NewBuffer(sent)).Receive(&corev1.PublishOutcome{})
	}
	require.ErrorIs(t, receive([]byte{5, 1}), io.ErrUnexpectedEOF)
	require.Error(t, receive([]byte{1, 0xff}))
	var tooLarge *protodelim.SizeTooLargeError
	require.ErrorAs(t, receive(binary.AppendUvarint(nil, wire.MaxMessage+1)), &tooLarge)

	conn := &counted{}
	huge := &corev1.PublishOutcome{Message: strings.Repeat("x", wire.MaxMessage)}
	require.ErrorIs(t, wire.NewMessages(conn).Send(huge), wire.ErrTooLarge)
	require.Zero(t, conn.writes)
}

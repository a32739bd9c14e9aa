package gateway

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	fineLength  = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\nA: b\r\n folded"
	fineChunked = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"d;ext=\"\"\r\nA: b\r\n folded\r\n00\r\nX-T: a\r\n\r\n"
	fineGet = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
)

func TestMessages(t *testing.T) {
	t.Parallel()
	head := func(lines ...string) string { return "POST / HTTP/1.1\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n" }
	for name, c := range map[string]struct {
		bytes string
		fault error
	}{
		"one of each":                {fineGet + fineLength + fineChunked + fineGet, nil},
		"bare line feeds":            {"GET / HTTP/1.1\nHost: x\n\n" + fineGet, nil},
		"a blank line in between":    {fineLength + "\r\n" + fineGet, nil},
		"folded":                     {fineGet + head("A: b", " c"), errFolded},
		"folded with a tab":          {fineChunked + head("A: b", "\tc"), errFolded},
		"first header folded":        {head(" A: b"), errFolded},
		"folded after a bad length":  {head("Content-Length:", " 5"), errFolded},
		"folded encoding":            {head("Transfer-Encoding:", " chunked"), errFolded},
		"folded trailer":             {strings.Replace(fineChunked, "X-T: a\r\n", "X-T: a\r\n b\r\n", 1), errFolded},
		"two lengths":                {head("Content-Length: 1", "A: b", "CONTENT-LENGTH: 1"), errTwoLengths},
		"length, then encoding":      {head("Content-Length: 1", "transfer-encoding: chunked"), errTwoFramings},
		"encoding, then length":      {head("Transfer-Encoding: chunked", "Content-Length: 1"), errTwoFramings},
		"zero length, then encoding": {head("Content-Length: 0", "Transfer-Encoding: chunked"), errTwoFramings},
		"bad length, then encoding":  {head("Content-Length: x", "Transfer-Encoding: chunked"), errTwoFramings},
		"encoding in HTTP/1.0":       {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", errOldFraming},
		"endless line":               {"GET /" + strings.Repeat("a", maxLine), errLongHeadLine},
		"endless header":             {"GET / HTTP/1.1\r\nA: " + strings.Repeat("a", maxLine), errLongHeadLine},
		// What net/http refuses by itself ends the watch.
		"bad length":     {head("Content-Length: x") + " folded?", nil},
		"other encoding": {head("Transfer-Encoding: gzip") + " folded?", nil},
		"two encodings":  {head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + " folded?", nil},
		"bad chunk":      {head("Transfer-Encoding: chunked") + "x\r\n folded?", nil},
	} {
		t.Run(name, func(t *testing.T) {
			whole, at := new(messages), 0
			good, fault := whole.follow([]byte(c.bytes))
			require.Equal(t, c.fault, fault)
			if fault != nil && len(c.bytes) < maxLine {
				at = len(c.bytes[:good])
				require.True(t, at == 0 || c.bytes[at-1] == '\n', "the fault is not at a line's beginning: %q", c.bytes[:at])
			}
			for size := range 7 { // any way of cutting it gives the same
				require.Equal(t, c.fault, followInPieces([]byte(c.bytes), size+1))
			}
		})
	}
}

func followInPieces(stream []byte, size int) error {
	m := new(messages)
	for len(stream) > 0 {
		size = min(size, len(stream))
		good, fault := m.follow(stream[:size])
		if fault != nil {
			return fault
		}
		if good != size {
			return io.ErrShortBuffer
		}
		stream = stream[size:]
	}
	return nil
}

// FuzzMessages: we see where requests end exactly as net/http does. What it reads without an error and we find no fault in
// leaves us waiting for the next request.
func FuzzMessages(f *testing.F) {
	for _, seed := range []string{
		fineGet, fineLength, fineChunked, fineGet + fineLength + fineChunked, "GET / HTTP/1.0\nContent-Length: 0\n\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\tChunked \r\n\r\n000a ; a=b\r\n0123456789\r\n0\r\n\r\n",
		"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 010\r\n\r\n0123456789GET / HTTP/1.1\r\nHost:x\r\n\r\n",
		"POST / HTTP/1.0\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		m := new(messages)
		good, fault := m.follow(stream)
		require.Equal(t, fault, followInPieces(stream, int(size)+1))
		if fault != nil {
			require.LessOrEqual(t, good, len(stream))
			return
		}
		if readsWhole(stream) {
			require.Equal(t, atRequestLine, m.stage, "%q", stream)
			require.Empty(t, m.line)
		}
	})
}

// readsWhole tells whether net/http reads the stream as a number of whole requests, and would go on.
func readsWhole(stream []byte) bool {
	reader := bufio.NewReader(bytes.NewReader(stream))
	for {
		if _, err := reader.Peek(1); err != nil {
			return true
		}
		r, err := http.ReadRequest(reader)
		if err != nil || r.ProtoMajor != 1 || r.Close {
			return false // the server answers, and closes
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return false
		}
	}
}

package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
	"github.com/platformd/platformd/plugin-api/link/spoofs"
)

func TestSpoofedHeadersNeverReachTheModule(t *testing.T) {
	t.Parallel()
	require.GreaterOrEqual(t, len(spoofs.All()), 200)
	rig, seen := captureModule(t)
	for _, line := range spoofs.All() {
		c := rig.Dial()
		_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\nX-Control: ok\r\n%s\r\n\r\n", line)
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err, line)
		_ = res.Body.Close()
		_ = c.Close()
		require.Equal(t, http.StatusOK, res.StatusCode, line)
		text := <-seen
		require.Contains(t, text, "X-Control: ok", line)
		require.NotContains(t, text, "SPOOF", line)
		for _, name := range []string{headerSecret, headerRoute, headerPrincipal} {
			require.Equal(t, 1, strings.Count(text, name+":"), "%s: %s", line, name)
		}
	}
}

// captureModule makes a rig whose module answers 200 and hands out the text of each request, trailers included.
func captureModule(t *testing.T) (*rig, <-chan string) {
	t.Helper()
	seen := make(chan string, 1)
	rig := newRig(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := rig.Listener.Accept()
			if err != nil {
				return
			}
			seen <- capture(c)
		}
	}()
	t.Cleanup(func() { _ = rig.Listener.Close(); <-done })
	rig.Front.Start()
	return rig, seen
}

func capture(c net.Conn) string {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(linktest.Patience))
	var text bytes.Buffer
	request, err := http.ReadRequest(bufio.NewReader(io.TeeReader(c, &text)))
	if err != nil {
		return err.Error()
	}
	_, _ = io.Copy(io.Discard, request.Body)
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	return text.String()
}

func TestHeadersThatTravelOn(t *testing.T) {
	t.Parallel()
	rig, seen := captureModule(t)
	for _, line := range []string{
		"Cookie: a=b", "X_custom: 1", "Platformdish: 1", "Xplatformd-Route: 1", "Accept: */*", "Te: trailers",
		"X-Forwarded-For: 1.2.3.4\r\nConnection: X-Forwarded-For", // no hiding
		"Traceparent: 00-1\r\nConnection: Traceparent",
		"X-Bytes: \xff\xfe",
	} {
		c := rig.Dial()
		_, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n", line)
		require.NoError(t, err)
		first, _, _ := strings.Cut(line, "\r\n")
		require.Contains(t, <-seen, "\r\n"+first+"\r\n")
	}
}

// Whoever nominates thousands of headers to save the next hop from them must not cost it more than a moment.
func TestManyNominationsAreCheap(t *testing.T) {
	t.Parallel()
	header := http.Header{"Connection": {strings.Repeat("a,", 1<<20)}}
	for i := range 1 << 14 {
		header[fmt.Sprintf("X-%d", i)] = []string{""}
	}
	began := time.Now()
	_, err := appendForwarded(nil, header)
	require.NoError(t, err)
	require.Less(t, time.Since(began), 5*time.Second)
}

func TestCallSurvivesItsHeaders(t *testing.T) {
	t.Parallel()
	for _, call := range []link.Call{
		{Route: "r", Principal: link.Anonymous()},
		{Route: "a.b-c_d", Principal: link.Principal{Kind: "x", ID: "\x00\r\n", Name: "ü\u2028"}, Timeout: time.Millisecond},
		{Route: "r", Principal: link.Anonymous(), Params: []link.Param{{Name: "a"}, {Name: "a", Value: "%"}}},
		{Route: "r", Principal: link.Anonymous(), Ticket: "t1.abc-_"},
		{Route: "r", Principal: link.Anonymous(), Timeout: time.Duration(maxTimeout) * time.Millisecond},
	} {
		got, err := decodeCall(encodeHeader(t, &call))
		require.NoError(t, err)
		require.Equal(t, call, *got)
	}
}

// encodeHeader returns the headers of call as a module sees them.
func encodeHeader(t testing.TB, call *link.Call) http.Header {
	t.Helper()
	var encoder callEncoder
	lines, err := encoder.append(nil, call)
	require.NoError(t, err)
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(lines, '\r', '\n')))).ReadMIMEHeader()
	require.NoError(t, err)
	return http.Header(header)
}

func TestTimeoutIsRoundedUp(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]int64{
		1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, 1<<63 - 1: maxTimeout,
	} {
		require.Equal(t, want, milliseconds(d), d)
	}
}

func TestDecodeCallRefuses(t *testing.T) {
	t.Parallel()
	good := link.Call{Route: "r", Principal: link.Anonymous(), Params: []link.Param{{Name: "a"}}, Timeout: time.Second}
	for _, test := range []struct {
		name, value string // value "" removes the header, "twice" doubles it
		fault       string
	}{
		{headerRoute, "", "0 times"},
		{headerRoute, "twice", "2 times"},
		{headerRoute, "a b", "visible ASCII"},
		{headerPrincipal, "", "0 times"},
		{headerPrincipal, "twice", "2 times"},
		{headerPrincipal, "!", "illegal base64"},
		{headerPrincipal, "e30", "names no kind"}, // {}
		{headerPrincipal, "W10", "cannot unmarshal"},
		{headerPrincipal, "e30=", "illegal base64"},
		{headerParams, "twice", "2 times"},
		{headerParams, "e30", "cannot unmarshal"},
		{headerParams, "!", "illegal base64"},
		{headerTimeout, "twice", "2 times"},
		{headerTimeout, "0", "positive"},
		{headerTimeout, "-1", "positive"},
		{headerTimeout, "1.5", "positive"},
		{headerTimeout, "9223372036855", "positive"},
	} {
		header := encodeHeader(t, &good)
		switch test.value {
		case "":
			delete(header, test.name)
		case "twice":
			header.Add(test.name, header.Get(test.name))
		default:
			header.Set(test.name, test.value)
		}
		_, err := decodeCall(header)
		require.ErrorContains(t, err, test.fault, "%s: %s", test.name, test.value)
		require.ErrorContains(t, err, test.name)
	}
}

func FuzzDecodeCall(f *testing.F) {
	f.Add("r", "W3sibmFtZSI6ImEifV0", "eyJraW5kIjoidG9rZW4ifQ", "1000")
	f.Add("getPost", "", "e30", "")
	f.Add("a b", "!", "bnVsbA", "-1")
	f.Fuzz(func(t *testing.T, route, params, principal, timeout string) {
		header := http.Header{}
		for name, value := range map[string]string{
			headerRoute: route, headerParams: params, headerPrincipal: principal, headerTimeout: timeout,
		} {
			if value != "" {
				header.Set(name, value)
			}
		}
		call, err := decodeCall(header)
		if err != nil {
			return
		}
		again, err := decodeCall(encodeHeader(t, call))
		require.NoError(t, err)
		if len(call.Params) == 0 {
			call.Params = nil // an empty list is not sent
		}
		require.Equal(t, call, again)
	})
}

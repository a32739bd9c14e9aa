package http1

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/hop"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

// badHeads are answers that end before, or with, a head that is not valid.
func badHeads() map[string]string {
	const length = "Content-Length: 0\r\n\r\n"
	return map[string]string{
		"nothing":                    "",
		"garbage":                    "garbage\r\n\r\n",
		"binary":                     "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"half a head":                "HTTP/1.1 200 OK\r\nContent-Le",
		"HTTP/1.0":                   "HTTP/1.0 200 OK\r\n" + length,
		"HTTP/2":                     "HTTP/2 200\r\n" + length,
		"status 99":                  "HTTP/1.1 99 X\r\n" + length,
		"status 099":                 "HTTP/1.1 099 X\r\n" + length,
		"status 1000":                "HTTP/1.1 1000 X\r\n" + length,
		"status 600":                 "HTTP/1.1 600 X\r\n" + length,
		"status 999":                 "HTTP/1.1 999 X\r\n" + length,
		"status +20":                 "HTTP/1.1 +20 X\r\n" + length,
		"no status":                  "HTTP/1.1  OK\r\n" + length,
		"control byte in the reason": "HTTP/1.1 200 O\x00K\r\n" + length,
		"101 unasked":                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
		"1xx without an end":         strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", 3000),
		"only 1xx":                   "HTTP/1.1 103 Early Hints\r\n\r\n",
		"bare LF":                    "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
		"LF in a value":              "HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\n" + length,
		"CR in a value":              "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n" + length,
		"NUL in a value":             "HTTP/1.1 200 OK\r\nX: a\x00b\r\n" + length,
		"DEL in a value":             "HTTP/1.1 200 OK\r\nX: a\x7fb\r\n" + length,
		"space in a name":            "HTTP/1.1 200 OK\r\nX Y: a\r\n" + length,
		"space after a name":         "HTTP/1.1 200 OK\r\nX : a\r\n" + length,
		"no name":                    "HTTP/1.1 200 OK\r\n: a\r\n" + length,
		"no colon":                   "HTTP/1.1 200 OK\r\nX\r\n" + length,
		"non-ASCII name":             "HTTP/1.1 200 OK\r\nÜ: a\r\n" + length,
		"folded line":                "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n" + length,
		"head over 64 KiB":           "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 65<<10) + "\r\n" + length,
		"endless head":               "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: a\r\n", 1<<20),
		"two lengths":                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"list of lengths":            "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na",
		"negative length":            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"signed length":              "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
		"hexadecimal length":         "HTTP/1.1 200 OK\r\nContent-Length: 0x1\r\n\r\na",
		"empty length":               "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
		"length over 63 bits":        "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n",
		"length and chunked":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"gzip, chunked":              "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"chunked twice":              "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"identity":                   "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nbody",
		"body until the end":         "HTTP/1.1 200 OK\r\n\r\nbody",
	}
}

// TestBadAnswersBeforeTheHead: nothing of them reaches the client, who gets the core's 502.
func TestBadAnswersBeforeTheHead(t *testing.T) {
	t.Parallel()
	for name, answer := range badHeads() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig := scriptModule(t, func(c *peer, _ *http.Request) { _, _ = io.WriteString(c, answer) })
			res, body := rig.Do(http.MethodPost, "/", strings.NewReader("x"))
			require.Equal(t, http.StatusBadGateway, res.StatusCode)
			require.Empty(t, body)
			require.NotContains(t, res.Header, "Set-Cookie")
			var failed *link.ExchangeError
			require.ErrorAs(t, rig.Result(), &failed)
			require.True(t, failed.Reached)
			rig.idle(0)
		})
	}
}

// TestBadAnswersAfterTheHead: the client sees a cut connection, never a body that looks complete.
func TestBadAnswersAfterTheHead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ answer, fault string }{
		"short body":         {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "5 bytes early"},
		"short empty body":   {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "10 bytes early"},
		"chunks without end": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "unexpected EOF"},
		"half a chunk":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "unexpected EOF"},
		"no chunk":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "unexpected EOF"},
		"bad chunk size":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello", "invalid byte in chunk length"},
		"chunk overrun":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n", "malformed chunked"},
		"no end of trailers": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "read the module's trailers"},
		"bad trailer":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : y\r\n\r\n", "bad header line"},
		"endless trailers": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("X: y\r\n", 1<<16),
			"exceed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig := scriptModule(t, func(c *peer, _ *http.Request) { _, _ = io.WriteString(c, test.answer) })
			res, err := rig.Front.Client().Do(rig.Request(http.MethodGet, "/", nil))
			if err == nil {
				defer res.Body.Close()
				require.Equal(t, http.StatusOK, res.StatusCode)
				_, err = io.ReadAll(res.Body)
			}
			require.Error(t, err)
			require.ErrorContains(t, rig.Abort(), test.fault)
			rig.idle(0)
		})
	}
}

func TestOddAnswersThatAreFine(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer string
		status int
		body   string
		reused bool
	}{
		"no reason":        {"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
		"equal lengths":    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
		"lower case":       {"HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nok", 200, "ok", true},
		"chunk extensions": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2;x=y\r\nok\r\n0\r\n\r\n", 200, "ok", true},
		"close":            {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false},
		"too much":         {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", 200, "ok", false},
		"204 with length":  {"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", 204, "", true},
		"204 chunked":      {"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 204, "", false},
		"unasked 100":      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
		"599":              {"HTTP/1.1 599 X\r\nContent-Length: 2\r\n\r\nok", 599, "ok", true},
		"long lines": {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 60<<10) + "\r\nContent-Length: 2\r\n\r\nok",
			200, "ok", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hold := make(chan struct{})
			rig := scriptModule(t, func(c *peer, _ *http.Request) {
				_, _ = io.WriteString(c, test.answer)
				<-hold
			})
			defer close(hold)
			res, body := rig.Do(http.MethodGet, "/", nil)
			require.Equal(t, test.status, res.StatusCode)
			require.Equal(t, test.body, body)
			require.NoError(t, rig.Result())
			if test.reused {
				rig.idle(1)
			} else {
				rig.idle(0)
			}
		})
	}
}

func TestNominationsInAnyOrder(t *testing.T) {
	t.Parallel()
	var a answer
	require.NoError(t, a.parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Z\r\nConnection: X-A\r\n"+
		"Trailer: X-S, X-R\r\nX-A: 1\r\nX-B: 1\r\nX-Z: 1\r\n\r\n", http.MethodGet))
	header := http.Header{}
	a.CopyTo(header, a.chunked)
	require.Equal(t, http.Header{"X-B": {"1"}, "Trailer": {"X-R, X-S"}}, header)
	a.SetTrailers(header, []hop.Field{{Name: "X-R", Value: "1"}, {Name: "X-S", Value: "2"}, {Name: "X-T", Value: "3"}})
	require.Equal(t, http.Header{
		"X-B": {"1"}, "Trailer": {"X-R, X-S"}, "X-R": {"1"}, "X-S": {"2"}, http.TrailerPrefix + "X-T": {"3"},
	}, header)
}

func FuzzAnswer(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", http.MethodGet)
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n", http.MethodHead)
	f.Add("HTTP/1.1 204\r\nSet-Cookie: a\r\nset-cookie: b\r\nPlatformd_X: y\r\n\r\n", http.MethodPost)
	f.Fuzz(func(t *testing.T, text, method string) {
		head, err := readBlock(bufio.NewReaderSize(strings.NewReader(text), 16), nil)
		if err != nil {
			return
		}
		var a answer
		if a.parse(string(head), method) != nil {
			return
		}
		require.True(t, a.Status >= 100 && a.Status <= 599)
		require.True(t, !a.HasBody(method) || a.chunked != (a.Length >= 0), "a body has exactly one end")
		header := http.Header{"X-Core": {"1"}}
		a.CopyTo(header, a.chunked)
		require.Equal(t, []string{"1"}, header["X-Core"])
		for name, values := range header {
			require.True(t, hop.ValidField(name, values), "%q: %q", name, values)
			require.False(t, hop.Reserved(name) || name != "Trailer" && hop.AboutOneHop(name), name)
		}
	})
}

func TestReadBlockStopsAtTheLimit(t *testing.T) {
	t.Parallel()
	read := 0
	endless := linktest.ReaderFunc(func(p []byte) (int, error) {
		read += len(p)
		for i := range p {
			p[i] = 'a'
		}
		return len(p), nil
	})
	_, err := readBlock(bufio.NewReaderSize(endless, readBuffer), nil)
	require.ErrorIs(t, err, errHeadTooLarge)
	require.LessOrEqual(t, read, maxHead+2*readBuffer)
}

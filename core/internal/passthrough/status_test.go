package passthrough_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/passthrough"
)

// What a callee's end means to its caller, as the gRPC specification maps the codes of HTTP/2.
func TestBreaksHaveTheirCodes(t *testing.T) {
	t.Parallel()
	resets := map[http2.ErrCode]codes.Code{
		http2.ErrCodeCancel: codes.Canceled, http2.ErrCodeRefusedStream: codes.Unavailable,
		http2.ErrCodeEnhanceYourCalm: codes.ResourceExhausted, http2.ErrCodeInadequateSecurity: codes.PermissionDenied,
	}
	for code := range http2.ErrCode(20) { // the rest, those that nobody knows too, are the callee's fault
		want, special := resets[code]
		if !special {
			want = codes.Internal
		}
		b := passthrough.Break{Reset: code}
		require.Equal(t, want, b.Code(), code.String())
		require.Contains(t, b.String(), code.String())
	}
	lost := passthrough.Break{Lost: true, Reset: http2.ErrCodeCancel}
	require.Equal(t, codes.Unavailable, lost.Code())
	require.Contains(t, lost.String(), "has ended")
	busy := passthrough.Break{Busy: true}
	require.Equal(t, codes.ResourceExhausted, busy.Code())
	require.Contains(t, busy.String(), "no more calls")
}

// A status of our own reaches grpc-go as it was meant, whatever is in its words.
func TestOurOwnStatusArrives(t *testing.T) {
	r := newRoute()
	var next passthrough.Next
	r.begin = func(*passthrough.Call) passthrough.Next { return next }
	conn := dial(t, serve(t, r, usual))
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		for _, message := range []string{"", "plain", "100 % of 50%25", "a\r\nb\x00\x7f", "größer → 世界", "\xff\xfe"} {
			next = passthrough.Next{Code: code, Message: message}
			_, err := call(t.Context(), conn, []byte("x"))
			require.Equal(t, code, status.Code(err))
			require.Equal(t, message, status.Convert(err).Message())
			require.Equal(t, passthrough.Outcome{Code: code}, r.outcome(t))
		}
	}
}

// A status that is none counts as UNKNOWN, which it is for the caller too.
func TestTheCalleesStatusIsRead(t *testing.T) {
	for text, want := range map[string]codes.Code{
		"0": codes.OK, "5": codes.NotFound, "16": codes.Unauthenticated, "17": codes.Unknown, "999": codes.Unknown, "-1": codes.Unknown,
		"": codes.Unknown, "five": codes.Unknown, "99999999999999999999": codes.Unknown,
	} {
		t.Run(text, func(t *testing.T) {
			to := callee(t, func(p *peer) {
				if id := p.asked(); id != 0 {
					p.headers(id, true, ":status", "200", "content-type", "application/grpc", "grpc-status", text)
				}
			})
			r := straight(to)
			_, _ = call(t.Context(), dial(t, serve(t, r, usual)), []byte("x"))
			require.Equal(t, ok(want), r.outcome(t))
		})
	}
	to := callee(t, func(p *peer) {
		if id := p.asked(); id != 0 {
			p.headers(id, true, ":status", "200", "content-type", "application/grpc")
		}
	})
	r := straight(to)
	_, err := call(t.Context(), dial(t, serve(t, r, usual)), []byte("x"))
	require.Error(t, err)
	require.Equal(t, ok(codes.Unknown), r.outcome(t), "none at all")
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	const century = 1 << 62 // and a half: what is longer counts as that
	for text, want := range map[string]time.Duration{
		"1H": time.Hour, "2M": 2 * time.Minute, "3S": 3 * time.Second, "4m": 4 * time.Millisecond, "5u": 5 * time.Microsecond,
		"6n": 6, "0S": 0, "00000001S": time.Second,
		"76861434M": century, "76861433M": 76_861_433 * time.Minute,
		"99999999H": century, "01281024H": century, "01281023H": 1_281_023 * time.Hour,
	} {
		got, err := passthrough.ParseTimeout(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "1", "S", "1s", "1h", "-1S", "+1S", "1.5S", " 1S", "1S ", "123456789S", "0x1S", "1_0S", "aS"} {
		_, err := passthrough.ParseTimeout(text)
		require.ErrorContains(t, err, "eight digits", text)
	}
	for d, want := range map[time.Duration]string{
		1: "1n", 99_999_999: "99999999n", 100 * time.Millisecond: "100000u", 100*time.Millisecond + 1: "100001u",
		100 * time.Second: "100000m", 100_000 * time.Second: "100001S", 0: "1n", -time.Second: "1n", math.MaxInt64: "99999999S",
	} {
		text := passthrough.FormatTimeout(d)
		require.Equal(t, want, text, d.String())
		back, err := passthrough.ParseTimeout(text)
		require.NoError(t, err)
		if d > 0 && d < time.Duration(math.MaxInt64) {
			require.GreaterOrEqual(t, back, d, "never shorter")
		}
	}
}

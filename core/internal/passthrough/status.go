package passthrough

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
)

// statusFields are the last headers of an answer of our own; begun says that the first ones are out already.
func statusFields(code codes.Code, message string, begun bool) []hpack.HeaderField {
	status := []hpack.HeaderField{
		{Name: "grpc-status", Value: strconv.Itoa(int(code))},
		{Name: "grpc-message", Value: encodeMessage(message)},
	}
	if begun {
		return status
	}
	return append([]hpack.HeaderField{
		{Name: ":status", Value: "200"}, {Name: "content-type", Value: "application/grpc"},
	}, status...)
}

// encodeMessage percent-encodes what gRPC wants encoded in grpc-message.
func encodeMessage(message string) string {
	var out strings.Builder
	for _, b := range []byte(message) {
		if b < ' ' || b > '~' || b == '%' {
			fmt.Fprintf(&out, "%%%02X", b)
			continue
		}
		out.WriteByte(b)
	}
	return out.String()
}

// statusOf reads the status of an answer.
func statusOf(fields []hpack.HeaderField) codes.Code {
	for _, f := range fields {
		if f.Name == "grpc-status" {
			code, err := strconv.ParseUint(f.Value, 10, 8)
			if err == nil && code <= uint64(codes.Unauthenticated) {
				return codes.Code(code)
			}
			break
		}
	}
	return codes.Unknown
}

// resetCode maps a reset as the gRPC specification does.
func resetCode(code http2.ErrCode) codes.Code {
	switch code {
	case http2.ErrCodeCancel:
		return codes.Canceled
	case http2.ErrCodeRefusedStream:
		return codes.Unavailable
	case http2.ErrCodeEnhanceYourCalm:
		return codes.ResourceExhausted
	case http2.ErrCodeInadequateSecurity:
		return codes.PermissionDenied
	}
	return codes.Internal
}

// String is for the caller.
func (b Break) String() string {
	switch {
	case b.Lost:
		return "the connection to the callee has ended"
	case b.Busy:
		return "the callee takes no more calls at once"
	}
	return "the callee has reset the call: " + b.Reset.String()
}

var timeoutUnits = map[byte]time.Duration{
	'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
}

// longest is where times end: eight digits of hours are more than a time.Duration holds, and the sums that are made with it.
const longest = time.Duration(1 << 62)

// ParseTimeout reads a grpc-timeout: up to eight digits and a unit. What is over a century counts as one.
func ParseTimeout(text string) (time.Duration, error) {
	const most = 9
	if len(text) < 2 || len(text) > most {
		return 0, fmt.Errorf("grpc-timeout %q is not up to eight digits and a unit", text)
	}
	unit, known := timeoutUnits[text[len(text)-1]]
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 32)
	if !known || err != nil {
		return 0, fmt.Errorf("grpc-timeout %q is not up to eight digits and a unit", text)
	}
	if n > uint64(longest/unit) {
		return longest, nil
	}
	return time.Duration(n) * unit, nil //nolint:gosec // at most longest
}

// FormatTimeout writes a grpc-timeout, rounded up.
func FormatTimeout(d time.Duration) string {
	const digits = 100_000_000
	for _, unit := range []byte("num") {
		n := d / timeoutUnits[unit]
		if d%timeoutUnits[unit] > 0 {
			n++
		}
		if n < digits {
			return strconv.FormatInt(int64(max(1, n)), 10) + string(unit)
		}
	}
	return strconv.FormatInt(int64(min(d/time.Second+1, digits-1)), 10) + "S"
}

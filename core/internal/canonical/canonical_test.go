package canonical

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"path"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/canonical/canonicaltest"
)

func TestCheckCorpus(t *testing.T) {
	t.Parallel()
	entries := canonicaltest.Corpus(t)
	require.GreaterOrEqual(t, len(entries), 300)
	for _, entry := range entries {
		err := Check(entry.Raw)
		if entry.Canonical {
			require.NoError(t, err, "%q", entry.Raw)
			require.NoError(t, judge(entry.Raw))
		} else {
			require.Error(t, err, "%q", entry.Raw)
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"/":                      "/",
		"/a/b":                   "/a/b",
		"/a/":                    "/a/",
		"/a%20b":                 "/a b",
		"/a%2eb":                 "/a.b",
		"/caf%C3%A9":             "/caf\u00e9",
		"/caf\u00e9":             "/caf\u00e9",
		"/100%25":                "/100%",
		"/%2541":                 "/%41", // once, not twice
		"/a;b=c":                 "/a;b=c",
		"/a+b":                   "/a+b",
		"/...":                   "/...",
		"/.hidden":               "/.hidden",
		"/%3f%23":                "/?#",
		"/:id/*rest/{x}":         "/:id/*rest/{x}",
		"/%E2%80%A6%F0%9F%8D%8C": "/\u2026\U0001f34c",
	} {
		got, err := Decode(raw)
		require.NoError(t, err, "%q", raw)
		require.Equal(t, want, got)
	}
}

// TestCheckMutated is the fuzz test's poor sister for every run: more paths, by chance only.
func TestCheckMutated(t *testing.T) {
	t.Parallel()
	entries := canonicaltest.Corpus(t)
	pieces := []string{"/", "//", "..", ".", "%", "%25", "%2e", "%2f", "%5c", "%00", "\\", "a",
		"%61", "%c3%a9", "\xff", "%c0%ae", "2e", "5"}
	random := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for range 100_000 {
		raw := entries[random.IntN(len(entries))].Raw
		for range 1 + random.IntN(4) {
			at := random.IntN(len(raw) + 1)
			raw = raw[:at] + pieces[random.IntN(len(pieces))] + raw[at+random.IntN(len(raw)-at+1):]
		}
		if Check(raw) == nil {
			require.NoError(t, judge(raw))
			accepted++
		}
	}
	require.Greater(t, accepted, 1000)
}

// FuzzCheck: whatever Check accepts means the same to net/http, and to somebody who decodes it once or more often. What
// becomes of it is the gateway's to test.
func FuzzCheck(f *testing.F) {
	for _, entry := range canonicaltest.Corpus(f) {
		f.Add(entry.Raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if Check(raw) != nil {
			return
		}
		if err := judge(raw); err != nil {
			t.Fatal(err)
		}
	})
}

// judge says what is wrong with a path that Check accepts, by other means than Check's. It is cheap, for the fuzzer.
func judge(raw string) error {
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		return err
	}
	switch {
	case !utf8.ValidString(decoded):
		return fmt.Errorf("%q is not UTF-8", raw)
	case strings.Count(raw, "/") != strings.Count(decoded, "/"):
		return fmt.Errorf("an escape made a segment of %q", raw)
	case strings.Contains(decoded, `\`):
		return fmt.Errorf("%q has a backslash", raw)
	case strings.IndexFunc(decoded, func(r rune) bool { return r < ' ' || 0x7f <= r && r <= 0x9f }) >= 0:
		return fmt.Errorf("%q has a control character", raw)
	case !clean(decoded):
		return fmt.Errorf("%q is not clean", raw)
	}
	if ours, err := Decode(raw); err != nil || ours != decoded {
		return fmt.Errorf("%q is decoded to %q, not to %q (%w)", raw, ours, decoded, err)
	}
	parsed, err := url.ParseRequestURI(raw)
	if err == nil && parsed.Path != decoded {
		err = fmt.Errorf("net/http sees %q in %q", parsed.Path, raw)
	}
	return errors.Join(err, judgeAgain(decoded))
}

// judgeAgain decodes again, and again, what has been decoded once.
func judgeAgain(decoded string) error {
	for again := decoded; unescapeLeniently(again) != again; {
		again = unescapeLeniently(again)
		if strings.Count(decoded, "/") != strings.Count(again, "/") || !clean(again) {
			return fmt.Errorf("%q decoded again is %q, which has other segments", decoded, again)
		}
	}
	return nil
}

// clean uses another judge than the code does.
func clean(decoded string) bool {
	if decoded != "/" {
		decoded = strings.TrimSuffix(decoded, "/")
	}
	return path.Clean(decoded) == decoded
}

// unescapeLeniently decodes what can be decoded, as a careless module might.
func unescapeLeniently(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if n, err := strconv.ParseUint(s[min(i+1, len(s)):min(i+3, len(s))], 16, 8); s[i] == '%' && i+2 < len(s) && err == nil {
			out.WriteByte(byte(n))
			i += 2
			continue
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

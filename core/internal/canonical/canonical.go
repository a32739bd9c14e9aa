// Package canonical judges what others wrote, the paths of requests and texts that are shown: one that passes means the same to
// everybody who reads it.
//
// Floor 0. It must not know routes, modules or HTTP: it turns one text into another, or says what is wrong with it.
package canonical

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxNesting is how often what a path holds may be escaped beyond what it needs, as in 100%252525.
const maxNesting = 3

// Check returns an error, made for the client to read, unless rawPath, the path of a request target before any
// decoding, is canonical: everybody who decodes it once sees the same segments, and nobody who decodes it twice, or treats
// a backslash as a slash, is led elsewhere. A canonical path begins with "/" and has no empty or dot segment, whatever
// escapes it is written with; "/" may also end it. It is UTF-8 without control characters or backslashes, and no escape in
// it stands for a slash.
func Check(rawPath string) error {
	_, err := Decode(rawPath)
	return err
}

// Decode decodes raw once, if it is canonical; else its error is that of Check.
func Decode(raw string) (string, error) {
	if !strings.HasPrefix(raw, "/") {
		return "", fmt.Errorf("the path %q does not begin with /", raw)
	}
	path, err := unescape(raw)
	if err != nil {
		return "", err
	}
	if err := checkText(path); err != nil {
		return "", err
	}
	return path, checkSegments(path)
}

// unescape decodes each escape of raw and checks byte by byte.
func unescape(raw string) (string, error) {
	var decoded []byte // nil while it would equal raw
	for i := 0; i < len(raw); i++ {
		b := raw[i]
		switch b {
		case '%':
			if decoded == nil {
				decoded = append(make([]byte, 0, len(raw)), raw[:i]...)
			}
			var ok bool
			if b, ok = hexByte(raw[i+1:]); !ok {
				return "", errors.New("the path has a % that is not followed by two hexadecimal digits")
			}
			if b == '/' {
				return "", fmt.Errorf("the path has an escaped slash, %s", raw[i:i+3])
			}
			i += 2
		case ' ', '?', '#':
			return "", fmt.Errorf("the path has a %q that is not escaped", b)
		}
		if b < ' ' || b == 0x7f || b == '\\' {
			return "", fmt.Errorf("the path has a %q in it, raw or escaped", b)
		}
		if decoded != nil {
			decoded = append(decoded, b)
		}
	}
	if decoded == nil {
		return raw, nil
	}
	return string(decoded), nil
}

func hexByte(s string) (byte, bool) {
	if len(s) < 2 {
		return 0, false
	}
	high, low := hexDigit(s[0]), hexDigit(s[1])
	return high<<4 | low, high < 16 && low < 16
}

// hexDigit returns 16 for what is not a digit.
func hexDigit(b byte) byte {
	switch {
	case '0' <= b && b <= '9':
		return b - '0'
	case 'a' <= b|0x20 && b|0x20 <= 'f':
		return b | 0x20 - 'a' + 10
	}
	return 16
}

// checkText looks at the path as text, decoded once.
func checkText(path string) error {
	if !utf8.ValidString(path) {
		return errors.New("the path is not UTF-8")
	}
	for _, r := range path {
		if 0x80 <= r && r <= 0x9f {
			return fmt.Errorf("the path has the control character %U in it", r)
		}
	}
	if hidesBytes(path) {
		return errors.New("the path has a dot, slash, backslash or NUL in it that is escaped more than once")
	}
	return nil
}

// hidesBytes tells whether somebody who decodes an already decoded path again, and again, would come upon a byte that makes
// or changes segments. Escapes nested deeper than maxNesting are taken for an attempt to hide one.
func hidesBytes(path string) bool {
	for range maxNesting {
		if !strings.Contains(path, "%") {
			return false
		}
		next, found := unescapeAgain(path)
		if found || next == path {
			return found
		}
		path = next
	}
	return strings.Contains(path, "%")
}

// unescapeAgain decodes what can be decoded and keeps the rest, as careless code does. found says that a dangerous byte
// came out.
func unescapeAgain(path string) (next string, found bool) {
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		b, ok := path[i], false
		if b == '%' {
			if b, ok = hexByte(path[i+1:]); !ok {
				b = '%'
			}
		}
		if ok {
			found = found || b == '.' || b == '/' || b == '\\' || b == 0
			i += 2
		}
		out = append(out, b)
	}
	return string(out), found
}

func checkSegments(path string) error {
	for rest := path[1:]; rest != ""; {
		segment, after, more := strings.Cut(rest, "/")
		switch {
		case segment == "" && more:
			return errors.New("the path has // in it")
		case segment == "." || segment == "..":
			return fmt.Errorf("the path has the segment %q in it", segment)
		}
		rest = after
	}
	return nil
}

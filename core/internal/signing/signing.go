// Package signing says who made a file: keys, signatures and the keys that a platform trusts, in the formats of minisign, so that
// either program reads what the other has written.
//
// Floor 0. It must not know what is in a file that it signs or verifies, nor decide what an unsigned one may do.
package signing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"

	"aead.dev/minisign"
)

// Extension is what the name of a signature's file adds to that of the signed file.
const Extension = ".minisig"

// maxText is more than any key or signature has, in bytes.
const maxText = 16 << 10

// Error is what is wrong with a key or a signature.
type Error struct {
	// Code is a stable, machine-readable name, such as "untrusted_key".
	Code string
	// Message and Fix say in one line each what is wrong, and what to do next.
	Message, Fix string
	// Err is the error behind it, or nil. Message already says it.
	Err error
}

// Error returns the message and, on a line of its own, "fix: …".
func (e *Error) Error() string { return e.Message + "\nfix: " + e.Fix }

// Unwrap returns the error behind it.
func (e *Error) Unwrap() error { return e.Err }

// Signer is who has signed a file, as a signature says that has been verified.
type Signer struct {
	Key Key
	// TrustedComment was signed together with the file; UntrustedComment was not, and may be anybody's. Neither holds anything
	// that a terminal would obey.
	TrustedComment, UntrustedComment string
	// SHA256 is the checksum of the bytes that were verified, in hexadecimal digits: who reads the file again compares it, as the
	// file may be another by then.
	SHA256 string
}

// Sign reads a file to its end and returns the text of its signature. comment is signed, too: see Comment.
func Sign(ctx context.Context, from io.Reader, s Secret, comment string) ([]byte, error) {
	in := minisign.NewReader(reader{ctx, from})
	if _, err := io.Copy(io.Discard, in); err != nil {
		return nil, fmt.Errorf("read what is to be signed: %w", err)
	}
	return in.SignWithComments(s.key, harmless(comment), "signature from platformd secret key "+s.Public().ID), nil
}

// Comment says what minisign says of a file that it signs.
func Comment(file string, now time.Time) string {
	return fmt.Sprintf("timestamp:%d\tfile:%s\thashed", now.Unix(), harmless(file))
}

// Verify reads a file to its end and returns which of the trusted keys has signed it, as its signature says. It returns an
// *Error if none has.
func Verify(ctx context.Context, from io.Reader, signature []byte, trusted []Key) (*Signer, error) {
	var s minisign.Signature
	if err := s.UnmarshalText(signature); err != nil {
		return nil, &Error{Code: "not_a_signature", Err: err, Message: "this is no signature of minisign: " + harmless(err.Error()),
			Fix: "get the signature again, or have the file signed with `platformd sign`"}
	}
	if s.Algorithm != minisign.HashEdDSA {
		return nil, &Error{Code: "legacy_signature",
			Message: "the signature is of minisign's old form, for which the whole file must be in memory",
			Fix:     "have the file signed with `platformd sign`, or with minisign 0.11 or newer"}
	}
	key, err := find(trusted, s.KeyID)
	if err != nil {
		return nil, err
	}
	in, sum := minisign.NewReader(reader{ctx, from}), sha256.New()
	if _, err := io.Copy(sum, in); err != nil {
		return nil, fmt.Errorf("read what is signed: %w", err)
	}
	if !in.Verify(key.public, signature) {
		return nil, &Error{Code: "bad_signature",
			Message: "the signature of key " + key.ID + " is not for this file: one of the two was changed",
			Fix:     "get both again, from whom you trust"}
	}
	return &Signer{Key: key, TrustedComment: harmless(s.TrustedComment), UntrustedComment: harmless(s.UntrustedComment),
		SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

func find(trusted []Key, id uint64) (Key, error) {
	for _, key := range trusted {
		if key.public.ID() == id {
			return key, nil
		}
	}
	if len(trusted) == 0 {
		return Key{}, &Error{Code: "untrusted_key", Message: "it is signed with key " + idText(id) + ", and no key is trusted here",
			Fix: "get the public key from whom you trust, and add it: platformd trust add FILE"}
	}
	return Key{}, &Error{Code: "untrusted_key", Message: "it is signed with key " + idText(id) + ", which is not trusted here",
		Fix: "see what is: platformd trust ls; or get the public key from whom you trust: platformd trust add FILE"}
}

// ReadSignature returns the signature beside a file, FILE.minisig. Without one, the error's code is "unsigned".
func ReadSignature(file string) ([]byte, error) {
	text, err := readText(file + Extension)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Code: "unsigned", Err: err, Message: file + " is not signed: there is no " + file + Extension,
			Fix: "get the signature, too, and put it beside the file; your own files you sign with `platformd sign`"}
	}
	return text, err
}

// readText reads a small regular file, and refuses anything else without waiting for it.
func readText(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w (fix: name a file that is there and that this user may read)", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxText {
		return nil, &Error{Code: "not_a_file",
			Message: path + " is no file with a key or a signature: it is no regular file, or far too large",
			Fix:     "name another file"}
	}
	return io.ReadAll(io.LimitReader(file, maxText))
}

// harmless takes out of a text what a terminal would obey.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsGraphic(r) && r != unicode.ReplacementChar:
			return r
		}
		return -1
	}, text)
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	io.Reader
}

// Read implements io.Reader.
func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

package signing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/stretchr/testify/require"
)

const payload = "bytes of a package\n"

func generate(t *testing.T) Secret {
	t.Helper()
	s, err := Generate()
	require.NoError(t, err)
	return s
}

func sign(t *testing.T, s Secret, content, comment string) []byte {
	t.Helper()
	text, err := Sign(t.Context(), strings.NewReader(content), s, comment)
	require.NoError(t, err)
	return text
}

func verify(t *testing.T, content string, signature []byte, trusted ...Key) (*Signer, error) {
	t.Helper()
	return Verify(t.Context(), strings.NewReader(content), signature, trusted)
}

func code(t *testing.T, err error) string {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.NotEmpty(t, e.Fix)
	require.NotContains(t, e.Error(), "\x1b", "nothing in an error may drive a terminal")
	return e.Code
}

func TestVerify(t *testing.T) {
	t.Parallel()
	alice, bob := generate(t), generate(t)
	signer, err := verify(t, payload, sign(t, alice, payload, "blog 0.3.0"), bob.Public(), alice.Public())
	require.NoError(t, err)
	require.Equal(t, alice.Public().ID, signer.Key.ID)
	require.Equal(t, "blog 0.3.0", signer.TrustedComment)
	require.Equal(t, "signature from platformd secret key "+alice.Public().ID, signer.UntrustedComment)
	sum := sha256.Sum256([]byte(payload))
	require.Equal(t, hex.EncodeToString(sum[:]), signer.SHA256)
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	alice, bob := generate(t), generate(t)
	good := sign(t, alice, payload, "")
	lines := strings.Split(string(good), "\n")
	lines[2] = "trusted comment: another"
	otherComment := strings.Join(lines, "\n")
	legacy := minisign.Sign(alice.key, []byte(payload))
	// Bob's key under Alice's id: ids prove nothing.
	twin := twinOf(t, bob, alice)
	for name, c := range map[string]struct {
		signature []byte
		content   string
		trusted   []Key
		code      string
	}{
		"other bytes":         {good, payload + "x", []Key{alice.Public()}, "bad_signature"},
		"no bytes":            {good, "", []Key{alice.Public()}, "bad_signature"},
		"untrusted key":       {good, payload, []Key{bob.Public()}, "untrusted_key"},
		"no key at all":       {good, payload, nil, "untrusted_key"},
		"twin of the key":     {good, payload, []Key{twin.Public()}, "bad_signature"},
		"changed comment":     {[]byte(otherComment), payload, []Key{alice.Public()}, "bad_signature"},
		"no signature":        {[]byte("hello"), payload, []Key{alice.Public()}, "not_a_signature"},
		"nothing":             {nil, payload, []Key{alice.Public()}, "not_a_signature"},
		"half a signature":    {good[:len(good)/2], payload, []Key{alice.Public()}, "not_a_signature"},
		"old form":            {legacy, payload, []Key{alice.Public()}, "legacy_signature"},
		"text after it":       {append(bytes.Clone(good), "more\n"...), payload, []Key{alice.Public()}, "not_a_signature"},
		"escape in its place": {[]byte("\x1b[2J\n\x1b[2J\n\x1b[2J\n\x1b[2J"), payload, []Key{alice.Public()}, "not_a_signature"},
	} {
		_, err := verify(t, c.content, c.signature, c.trusted...)
		require.Error(t, err, name)
		require.Equal(t, c.code, code(t, err), name)
	}
}

// twinOf makes a key that has another's id.
func twinOf(t *testing.T, s, other Secret) Secret {
	t.Helper()
	text, err := s.key.MarshalText()
	require.NoError(t, err)
	raw := decodeKey(t, text)
	theirs, err := other.key.MarshalText()
	require.NoError(t, err)
	copy(raw[54:62], decodeKey(t, theirs)[54:62])
	var twin Secret
	require.NoError(t, twin.key.UnmarshalText(encodeKey(raw)))
	require.Equal(t, other.Public().ID, twin.Public().ID)
	return twin
}

// What a terminal would obey is in no comment that is shown, wherever it comes from.
func TestCommentsAreHarmless(t *testing.T) {
	t.Parallel()
	alice := generate(t)
	in := minisign.NewReader(strings.NewReader(payload))
	_, err := bytes.NewBuffer(nil).ReadFrom(in)
	require.NoError(t, err)
	wild := in.SignWithComments(alice.key, "a\x1b[2Jb\tc\u202ed\u009be", "x\x07y\xffz")
	signer, err := verify(t, payload, wild, alice.Public())
	require.NoError(t, err, "it is a good signature all the same")
	require.Equal(t, "a[2Jb cde", signer.TrustedComment)
	require.Equal(t, "xyz", signer.UntrustedComment)

	key, err := ParseKey([]byte("untrusted comment: mine\x1b]0;title\x07\n" + alice.Public().public.String()))
	require.NoError(t, err)
	require.Equal(t, "mine]0;title", key.Comment)

	signer, err = verify(t, payload, sign(t, alice, payload, "two\nlines\r"), alice.Public())
	require.NoError(t, err, "a comment of several lines would break the form")
	require.Equal(t, "twolines", signer.TrustedComment)
	require.Equal(t, "timestamp:12\tfile:ab\thashed", Comment("a\nb", time.Unix(12, 0)))
}

func TestReadSignature(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "p.tar.gz")
	_, err := ReadSignature(file)
	require.Equal(t, "unsigned", code(t, err))
	require.NoError(t, os.WriteFile(file+".minisig", make([]byte, maxText+1), 0o600))
	_, err = ReadSignature(file)
	require.Equal(t, "not_a_file", code(t, err))
	require.NoError(t, os.WriteFile(file+".minisig", []byte("text"), 0o600))
	text, err := ReadSignature(file)
	require.NoError(t, err)
	require.Equal(t, "text", string(text))

	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo+".minisig", 0o600))
	_, err = ReadSignature(fifo)
	require.Equal(t, "not_a_file", code(t, err), "and nobody waits for it")
}

func TestReadingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	alice := generate(t)
	_, err := Sign(ctx, strings.NewReader(payload), alice, "")
	require.ErrorIs(t, err, context.Canceled)
	_, err = Verify(ctx, strings.NewReader(payload), sign(t, alice, payload, ""), []Key{alice.Public()})
	require.ErrorIs(t, err, context.Canceled)
}

func noPassphrase() (string, error) { return "", errors.New("it should not be asked for") }

func writeKey(t *testing.T, text []byte, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(path, text, mode))
	return path
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	alice := generate(t)
	text, err := alice.Text("")
	require.NoError(t, err)
	loaded, err := LoadSecret(writeKey(t, text, 0o600), noPassphrase)
	require.NoError(t, err)
	require.True(t, alice.key.Equal(loaded.key))

	_, err = LoadSecret(writeKey(t, text, 0o640), noPassphrase)
	require.Equal(t, "readable_key", code(t, err))
	_, err = LoadSecret(writeKey(t, alice.Public().Text(), 0o600), noPassphrase)
	require.Equal(t, "not_a_key", code(t, err))
	_, err = LoadSecret(filepath.Join(t.TempDir(), "none"), noPassphrase)
	require.ErrorContains(t, err, "(fix: ")

	cheap := cheaplyEncrypted(t, alice, "open sesame")
	loaded, err = LoadSecret(writeKey(t, cheap, 0o644), func() (string, error) { return "open sesame", nil })
	require.NoError(t, err)
	require.True(t, alice.key.Equal(loaded.key))
	_, err = LoadSecret(writeKey(t, cheap, 0o600), func() (string, error) { return "open", nil })
	require.Equal(t, "wrong_passphrase", code(t, err))
	_, err = LoadSecret(writeKey(t, cheap, 0o600), noPassphrase)
	require.ErrorContains(t, err, "it should not be asked for")
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	alice := generate(t).Public()
	for _, text := range [][]byte{alice.Text(), []byte(alice.public.String()), []byte(alice.public.String() + "\n")} {
		k, err := ParseKey(text)
		require.NoError(t, err)
		require.True(t, k.public.Equal(alice.public))
		require.Equal(t, alice.ID, k.ID)
	}
	secret, err := generate(t).Text("")
	require.NoError(t, err)
	for _, text := range [][]byte{nil, []byte("hello"), secret, alice.Text()[:60]} {
		_, err := ParseKey(text)
		require.Equal(t, "not_a_key", code(t, err))
	}
}

// FuzzVerify must neither panic nor accept anything but the one signature, and never let an escape through.
func FuzzVerify(f *testing.F) {
	s, err := Generate()
	if err != nil {
		f.Fatal(err)
	}
	good, err := Sign(f.Context(), strings.NewReader(payload), s, "fuzz")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, s.Public().Text())
	f.Add([]byte("untrusted comment: \nRU\ntrusted comment: \n"), []byte("untrusted comment"))
	f.Fuzz(func(t *testing.T, signature, key []byte) {
		if k, err := ParseKey(key); err == nil {
			require.NotContains(t, k.Comment, "\x1b")
			again, err := ParseKey(k.Text())
			require.NoError(t, err)
			require.True(t, again.public.Equal(k.public))
		}
		signer, err := verify(t, payload, signature, s.Public())
		if err == nil {
			require.Equal(t, "fuzz", signer.TrustedComment)
			require.NotContains(t, signer.UntrustedComment, "\x1b")
		}
	})
}

package signing

import (
	"encoding/base64"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/scrypt"
)

// tool is the minisign of others, in a folder of its own. Where it is missing, the test is skipped, or fails if
// PLATFORMD_TEST_SERVICES=required.
type tool struct {
	t   *testing.T
	dir string
}

func minisignTool(t *testing.T) tool {
	t.Helper()
	if _, err := exec.LookPath("minisign"); err != nil {
		if os.Getenv("PLATFORMD_TEST_SERVICES") == "required" {
			require.NoError(t, err, "fix: apt-get install minisign")
		}
		t.Skip(err)
	}
	return tool{t, t.TempDir()}
}

func (m tool) run(input string, args ...string) (string, error) {
	c := exec.CommandContext(m.t.Context(), "minisign", args...)
	c.Dir, c.Stdin = m.dir, strings.NewReader(input)
	out, err := c.CombinedOutput()
	return string(out), err
}

func (m tool) must(input string, args ...string) string {
	m.t.Helper()
	out, err := m.run(input, args...)
	require.NoError(m.t, err, out)
	return out
}

func (m tool) put(name string, content []byte) string {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	require.NoError(m.t, os.WriteFile(path, content, 0o600))
	return path
}

// What we make, minisign takes. That it opens keys that we have encrypted, core/e2e shows: scrypt fills a gigabyte of memory, for
// minutes under the race detector.
func TestMinisignReadsOurs(t *testing.T) {
	t.Parallel()
	m := minisignTool(t)
	alice := generate(t)
	m.put("p", []byte(payload))
	m.put("key.pub", alice.Public().Text())
	m.put("p.minisig", sign(t, alice, payload, "blog 0.3.0"))
	require.Contains(t, m.must("", "-Vm", "p", "-p", "key.pub"), "Trusted comment: blog 0.3.0")
	m.put("p", []byte("other bytes"))
	out, err := m.run("", "-Vm", "p", "-p", "key.pub")
	require.Error(t, err, out)

	m.put("p", []byte(payload))
	open, err := alice.Text("")
	require.NoError(t, err)
	cheap := cheaplyEncrypted(t, alice, "open sesame") // by which other tests know that we open what minisign opens
	for _, key := range [][]byte{open, cheap} {
		m.put("key", key)
		m.must("open sesame\n", "-Sm", "p", "-s", "key", "-x", "theirs.minisig", "-t", "by minisign")
		theirs, err := os.ReadFile(filepath.Join(m.dir, "theirs.minisig"))
		require.NoError(t, err)
		signer, err := verify(t, payload, theirs, alice.Public())
		require.NoError(t, err)
		require.Equal(t, "by minisign", signer.TrustedComment)
	}
}

// What minisign makes, we take.
func TestWeReadMinisigns(t *testing.T) {
	t.Parallel()
	m := minisignTool(t)
	m.must("", "-G", "-p", "key.pub", "-s", "key", "-W")
	key, err := LoadKey(filepath.Join(m.dir, "key.pub"))
	require.NoError(t, err)
	require.Contains(t, key.Comment, "minisign public key")
	secret, err := LoadSecret(filepath.Join(m.dir, "key"), noPassphrase)
	require.NoError(t, err)
	require.Equal(t, key.ID, secret.Public().ID)
	_, err = verify(t, payload, sign(t, secret, payload, ""), key)
	require.NoError(t, err)

	m.put("p", []byte(payload))
	m.must("", "-Sm", "p", "-s", "key", "-l")
	old, err := ReadSignature(filepath.Join(m.dir, "p"))
	require.NoError(t, err)
	_, err = verify(t, payload, old, key)
	require.Equal(t, "legacy_signature", code(t, err))
}

func decodeKey(t *testing.T, text []byte) []byte {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	raw, err := base64.StdEncoding.DecodeString(lines[len(lines)-1])
	require.NoError(t, err)
	return raw
}

func encodeKey(raw []byte) []byte {
	return []byte("untrusted comment: of a test\n" + base64.StdEncoding.EncodeToString(raw) + "\n")
}

// cheaplyEncrypted is an encrypted key that opens without a second and a gigabyte, as the format allows.
func cheaplyEncrypted(t *testing.T, s Secret, passphrase string) []byte {
	t.Helper()
	plain, err := s.key.MarshalText()
	require.NoError(t, err)
	raw := decodeKey(t, plain)
	binary.LittleEndian.PutUint16(raw[2:], 0x6353) // scrypt
	binary.LittleEndian.PutUint64(raw[38:], 32768)
	binary.LittleEndian.PutUint64(raw[46:], 16<<20)
	stream, err := scrypt.Key([]byte(passphrase), raw[6:38], 1024, 8, 1, 104)
	require.NoError(t, err)
	sum := blake2b.Sum256(append(raw[:2:2], raw[54:126]...))
	copy(raw[126:], sum[:])
	for i, k := range stream {
		raw[54+i] ^= k
	}
	return encodeKey(raw)
}

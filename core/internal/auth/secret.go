package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"
)

const (
	// prefix lets people and secret scanners recognise a token.
	prefix = "pfd_"
	// randomBytes are 256 bits: nobody guesses them, and a fast hash protects them as well as a slow one.
	randomBytes = 32
	// encodedLen is the length of the random bytes and their CRC-32 in base64. 36 bytes fill it without a bit to spare, so
	// that every token has one spelling.
	encodedLen = 48
)

// digest is the SHA-256 of a secret as its holder spells it.
type digest = [sha256.Size]byte

func newSecret() (secret string, hash digest) {
	raw := make([]byte, randomBytes, randomBytes+crc32.Size)
	_, _ = rand.Read(raw) // never fails (crypto/rand, Go 1.24)
	raw = binary.BigEndian.AppendUint32(raw, crc32.ChecksumIEEE(raw))
	secret = prefix + base64.RawURLEncoding.EncodeToString(raw)
	return secret, sha256.Sum256([]byte(secret))
}

// parse returns the hash of a secret; ok is false for a string that newSecret cannot have made. The checksum proves
// nothing: it spares the database typing errors and the guesses of scanners.
func parse(secret string) (hash digest, ok bool) {
	encoded, found := strings.CutPrefix(secret, prefix)
	if !found || len(encoded) != encodedLen {
		return hash, false
	}
	var raw [randomBytes + crc32.Size]byte
	n, err := base64.RawURLEncoding.Decode(raw[:], []byte(encoded))
	if err != nil || n != len(raw) { // the decoder skips line breaks
		return hash, false
	}
	if binary.BigEndian.Uint32(raw[randomBytes:]) != crc32.ChecksumIEEE(raw[:randomBytes]) {
		return hash, false
	}
	return sha256.Sum256([]byte(secret)), true
}

// newID names a token without saying anything about its secret.
func newID() string {
	raw := make([]byte, 8)
	_, _ = rand.Read(raw) // never fails (crypto/rand, Go 1.24)
	return hex.EncodeToString(raw)
}

const (
	// refreshPrefix tells refresh tokens from the tokens that requests carry.
	refreshPrefix = "pfr_"
	// familyBytes are common to all refresh tokens of a session. They prove that a token which is good no more was good once.
	familyBytes = 24
	// refreshLen is the length of the family, the random bytes and their CRC-32 in base64, without a bit to spare.
	refreshLen = 80
)

// refreshToken is a refresh token taken apart.
type refreshToken struct {
	family []byte
	random [randomBytes]byte
}

// newFamily begins the refresh tokens of a session.
func newFamily() []byte {
	family := make([]byte, familyBytes)
	_, _ = rand.Read(family) // never fails (crypto/rand, Go 1.24)
	return family
}

// newRefreshToken returns the next one of a family.
func newRefreshToken(family []byte) (t refreshToken) {
	t.family = family
	_, _ = rand.Read(t.random[:]) // never fails (crypto/rand, Go 1.24)
	return t
}

// text is the token as its holder spells it.
func (t *refreshToken) text() string {
	raw := append(append(make([]byte, 0, familyBytes+randomBytes+crc32.Size), t.family...), t.random[:]...)
	raw = binary.BigEndian.AppendUint32(raw, crc32.ChecksumIEEE(raw))
	return refreshPrefix + base64.RawURLEncoding.EncodeToString(raw)
}

// familyHash and hash are what is stored of it.
func (t *refreshToken) familyHash() []byte {
	sum := sha256.Sum256(t.family)
	return sum[:]
}

func (t *refreshToken) hash() []byte {
	sum := sha256.Sum256(append(append([]byte{}, t.family...), t.random[:]...))
	return sum[:]
}

// parseRefreshToken takes a token apart; ok is false for a string that text cannot have made.
func parseRefreshToken(text string) (t refreshToken, ok bool) {
	encoded, found := strings.CutPrefix(text, refreshPrefix)
	if !found || len(encoded) != refreshLen {
		return t, false
	}
	var raw [familyBytes + randomBytes + crc32.Size]byte
	n, err := base64.RawURLEncoding.Decode(raw[:], []byte(encoded))
	if err != nil || n != len(raw) { // the decoder skips line breaks
		return t, false
	}
	end := len(raw) - crc32.Size
	t.family = raw[:familyBytes]
	copy(t.random[:], raw[familyBytes:end])
	return t, binary.BigEndian.Uint32(raw[end:]) == crc32.ChecksumIEEE(raw[:end])
}

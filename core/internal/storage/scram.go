package storage

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// What a PostgreSQL server takes where it is not told otherwise; the password has 256 random bits, so that more rounds would
// protect nothing.
const (
	scramRounds = 4096
	scramSalt   = 16
)

// newPassword is 32 random bytes as text without any character that a URL or SQL would have to escape.
func newPassword() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// newVerifier is what a PostgreSQL server stores to check password by SCRAM-SHA-256 (RFC 5802, RFC 7677): the password itself
// reaches neither the server nor its log.
func newVerifier(password string) (string, error) {
	var salt [scramSalt]byte
	_, _ = rand.Read(salt[:]) // never fails
	return verifier(password, salt[:], scramRounds)
}

// verifier is pure. The password must be ASCII, which SASLprep does not change.
func verifier(password string, salt []byte, rounds int) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("make a password's verifier: %w", err)
	}
	stored := sha256.Sum256(sign(salted, "Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", rounds, encode(salt), encode(stored[:]), encode(sign(salted, "Server Key"))), nil
}

func sign(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text)) // never fails
	return mac.Sum(nil)
}

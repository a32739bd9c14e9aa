package storage

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The example of RFC 7677, section 3: what the client sends and the server answers follows from the verifier.
func TestVerifierOfTheRFC(t *testing.T) {
	t.Parallel()
	decode := func(text string) []byte {
		b, err := base64.StdEncoding.DecodeString(text)
		require.NoError(t, err)
		return b
	}
	made, err := verifier("pencil", decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
	require.NoError(t, err)
	keys, found := strings.CutPrefix(made, "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
	require.True(t, found, made)
	stored, server, found := strings.Cut(keys, ":")
	require.True(t, found)

	const nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	exchange := "n=user,r=rOprNGfwEbeRWgbNEkqO,r=" + nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=" + nonce
	require.Equal(t, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		base64.StdEncoding.EncodeToString(sign(decode(server), exchange)))
	key := decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=") // the proof: the client's key, hidden by the signature
	for i, b := range sign(decode(stored), exchange) {
		key[i] ^= b
	}
	hash := sha256.Sum256(key)
	require.True(t, hmac.Equal(hash[:], decode(stored)))
}

func TestPasswordsAreNeverTheSame(t *testing.T) {
	t.Parallel()
	first, second := newPassword(), newPassword()
	require.NotEqual(t, first, second)
	require.Len(t, first, 43)
	one, err := newVerifier(first)
	require.NoError(t, err)
	two, err := newVerifier(first)
	require.NoError(t, err)
	require.NotEqual(t, one, two, "each has its salt")
}

package auth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// forgery is how an access token is changed.
type forgery struct {
	header, claims       map[string]any // set; nil deletes
	rawHeader, rawClaims string         // in their place, with $kid and $claims filled in
	sign                 string         // with whose key; "" = ours
}

// forge changes an access token and signs it anew.
func forge(t testing.TB, s *Service, token string, f forgery) string {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	head, kid := rewrite(t, parts[0], f.header, f.rawHeader)
	body, _ := rewrite(t, parts[1], f.claims, f.rawClaims)
	kid = strings.TrimSpace(kid)
	signed := encode(strings.ReplaceAll(head, "$kid", kid)) + "." + encode(body)
	return signed + "." + encode(string(signature(t, s, []byte(signed), f.sign)))
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func rewrite(t testing.TB, part string, change map[string]any, raw string) (text, kid string) {
	t.Helper()
	original, err := base64.RawURLEncoding.DecodeString(part)
	require.NoError(t, err)
	var object map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(original)))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&object))
	kid, _ = object["kid"].(string)
	if raw != "" {
		inner := strings.TrimSuffix(strings.TrimPrefix(string(original), "{"), "}")
		return strings.ReplaceAll(raw, "$inner", inner), kid
	}
	for name, value := range change {
		if value == nil {
			delete(object, name)
			continue
		}
		object[name] = value
	}
	out, err := json.Marshal(object)
	require.NoError(t, err)
	return string(out), kid
}

// signature signs what should be signed, with the key that who names.
func signature(t testing.TB, s *Service, signed []byte, who string) []byte {
	t.Helper()
	ours := s.keys.set.Load().signer(purposeSign, s.now())
	require.NotNil(t, ours)
	switch who {
	case "":
		return ed25519.Sign(ours.private, signed)
	case "nobody":
		return nil
	case "another key":
		_, other, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		return ed25519.Sign(other, signed)
	case "HMAC with the public key":
		return keyed(ours.public(), signed)
	case "HMAC with the public key as PEM":
		der, err := x509.MarshalPKIXPublicKey(ours.public())
		require.NoError(t, err)
		return keyed(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), signed)
	case "HMAC with nothing":
		return keyed(nil, signed)
	case "RSA":
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		sum := sha256.Sum256(signed)
		made, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		require.NoError(t, err)
		return made
	case "the ticket key":
		ticket := s.keys.set.Load().signer(purposeTicket, s.now())
		return ed25519.Sign(ed25519.NewKeyFromSeed(ticket.Private), signed)
	}
	t.Fatalf("no such signer: %s", who)
	return nil
}

func keyed(key, data []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(data)
	return mac.Sum(nil)
}

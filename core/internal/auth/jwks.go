package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
)

// jwk is a public key for others to verify access tokens with (RFC 7517, RFC 8037).
type jwk struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	Kid string `json:"kid"`
	Use string `json:"use"`
	Alg string `json:"alg"`
	X   string `json:"x"`
}

// JWKS returns the JSON document of the keys that access tokens may be signed with (RFC 7517), those too that will sign soon.
// It holds public keys only. It may be half a minute old.
func (s *Service) JWKS(ctx context.Context) ([]byte, error) {
	if err := s.keys.fresh(ctx); err != nil {
		return nil, err
	}
	document := struct {
		Keys []jwk `json:"keys"`
	}{Keys: []jwk{}}
	now := s.now()
	for _, k := range s.keys.set.Load().keys {
		if k.Purpose != purposeSign || !k.verifies(now) {
			continue
		}
		document.Keys = append(document.Keys, jwk{
			Kty: "OKP", Crv: "Ed25519", Kid: k.ID, Use: "sig", Alg: algorithm, X: base64.RawURLEncoding.EncodeToString(k.public()),
		})
	}
	return json.Marshal(document)
}

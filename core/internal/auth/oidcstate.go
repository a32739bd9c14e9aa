package auth

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// stateTTL is how long a client may take at the provider.
	stateTTL = 10 * time.Minute
	// maxState bounds the bytes of a state cookie that are looked at.
	maxState = 4 << 10
)

// state is what Begin wants to know when Finish comes.
//
// It travels in a cookie of the client's, sealed with AES-256-GCM under a key that replicas share, rather than in a row: to begin
// costs nothing, so that nobody can fill the database, and it may be finished on any replica. That it could be shown twice gains
// nothing: the provider takes its code once, and only with the verifier in here.
type state struct {
	Issuer   string `json:"i"`
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	Redirect string `json:"r"`
	Expires  int64  `json:"e"` // seconds
}

func (k *key) sealer() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.state)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (s *Service) seal(st *state) (string, error) {
	k := s.keys.set.Load().signer(purposeTicket, s.now())
	if k == nil {
		return "", fmt.Errorf("seal the state of a sign-in: %w", errUnknownKey)
	}
	sealer, err := k.sealer()
	if err != nil {
		return "", fmt.Errorf("seal the state of a sign-in: %w", err)
	}
	text, err := json.Marshal(st)
	if err != nil {
		return "", fmt.Errorf("seal the state of a sign-in: %w", err)
	}
	return k.ID + "." + base64.RawURLEncoding.EncodeToString(sealer.Seal(nil, nil, text, []byte(k.ID))), nil
}

// unseal returns nil for what seal has not made within stateTTL. An error means that it could not find out.
func (s *Service) unseal(ctx context.Context, cookie string) (*state, error) {
	id, encoded, found := strings.Cut(cookie, ".")
	if !found || len(cookie) > maxState || !isBase64URL(encoded) {
		return nil, nil //nolint:nilnil // no state, and no error, is an answer
	}
	k, err := s.keys.find(ctx, purposeTicket, id)
	if errors.Is(err, errUnknownKey) {
		return nil, nil //nolint:nilnil // see above
	}
	if err != nil {
		return nil, err
	}
	sealer, err := k.sealer()
	if err != nil {
		return nil, fmt.Errorf("open the state of a sign-in: %w", err)
	}
	return opened(sealer, id, encoded, s.now()), nil
}

func opened(sealer cipher.AEAD, id, encoded string, now time.Time) *state {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil
	}
	text, err := sealer.Open(nil, nil, raw, []byte(id))
	if err != nil {
		return nil
	}
	st := new(state)
	if json.Unmarshal(text, st) != nil || now.Unix() >= st.Expires {
		return nil
	}
	return st
}

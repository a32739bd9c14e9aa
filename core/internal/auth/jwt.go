package auth

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/platformd/platformd/plugin-api/link"
)

const (
	// algorithm is the only one that is ever accepted, whatever a token says.
	algorithm = "EdDSA"
	// tokenType is the typ of access tokens (RFC 9068): an ID token, or anything else with the same key, is none.
	tokenType = "at+jwt"
	// audience is whom access tokens are for.
	audience = "platformd"
	// maxAccessToken bounds the bytes that are looked at.
	maxAccessToken = 8 << 10
	// clockSkew is how far before its making an access token is valid, for replicas whose clock is behind. In return nothing is
	// accepted earlier or later than it says.
	clockSkew = 30 * time.Second
)

// header of an access token. There is nothing else in it: no crit, no key, and no address of one.
type header struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`
}

// claims of an access token (RFC 9068). It implements jwt.Claims. Times are whole seconds; 0 = missing.
type claims struct {
	Issuer    string `json:"iss"`
	Audience  string `json:"aud"` // one: a token for others too would be theirs to use here
	Subject   string `json:"sub"`
	Name      string `json:"name,omitempty"`
	SessionID string `json:"sid"`
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	ExpiresAt int64  `json:"exp"`
	ID        string `json:"jti"`
}

func date(seconds int64) (*jwt.NumericDate, error) {
	if seconds == 0 {
		return nil, nil //nolint:nilnil // what the interface asks for
	}
	return jwt.NewNumericDate(time.Unix(seconds, 0)), nil
}

// GetExpirationTime implements jwt.Claims.
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return date(c.ExpiresAt) }

// GetIssuedAt implements jwt.Claims.
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error) { return date(c.IssuedAt) }

// GetNotBefore implements jwt.Claims.
func (c *claims) GetNotBefore() (*jwt.NumericDate, error) { return date(c.NotBefore) }

// GetIssuer implements jwt.Claims.
func (c *claims) GetIssuer() (string, error) { return c.Issuer, nil }

// GetSubject implements jwt.Claims.
func (c *claims) GetSubject() (string, error) { return c.Subject, nil }

// GetAudience implements jwt.Claims.
func (c *claims) GetAudience() (jwt.ClaimStrings, error) { return jwt.ClaimStrings{c.Audience}, nil }

// Validate implements jwt.ClaimsValidator: what the library does not ask for.
func (c *claims) Validate() error {
	if c.Subject == "" || c.SessionID == "" || c.ID == "" || c.IssuedAt == 0 {
		return errors.New("a claim is missing (fix: get a new token)")
	}
	return nil
}

// accessToken makes the access token of a session.
func (s *Service) accessToken(ctx context.Context, user *User, session string) (string, error) {
	k, err := s.keys.signing(ctx)
	if err != nil {
		return "", fmt.Errorf("sign an access token: %w", err)
	}
	now := s.now()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, &claims{
		Issuer: s.options.Issuer, Audience: audience, Subject: user.ID, Name: user.label(), SessionID: session, ID: newID(),
		IssuedAt: now.Unix(), NotBefore: now.Add(-clockSkew).Unix(), ExpiresAt: now.Add(s.options.AccessTTL).Unix(),
	})
	token.Header["kid"], token.Header["typ"] = k.ID, tokenType
	signed, err := token.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("sign an access token: %w", err)
	}
	return signed, nil
}

// readAccessToken returns what an access token says, if it is one of ours and valid now; otherwise ErrInvalidToken.
func (s *Service) readAccessToken(ctx context.Context, token string) (*claims, error) {
	kid, ok := readHeader(token)
	if !ok {
		return nil, ErrInvalidToken
	}
	k, err := s.keys.find(ctx, purposeSign, kid)
	if errors.Is(err, errUnknownKey) {
		return nil, ErrInvalidToken
	}
	if err != nil {
		return nil, err
	}
	found := new(claims)
	parser := jwt.NewParser(jwt.WithValidMethods([]string{algorithm}), jwt.WithStrictDecoding(), jwt.WithIssuer(s.options.Issuer),
		jwt.WithAudience(audience), jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithTimeFunc(s.now))
	parsed, err := parser.ParseWithClaims(token, found, func(*jwt.Token) (any, error) { return k.public(), nil })
	if err != nil || !parsed.Valid { // it does nothing but compute: there is no error that is not the token's
		return nil, ErrInvalidToken
	}
	return found, nil
}

// readHeader returns the kid of what is, in form, an access token: three parts of base64url, the first of which is our header
// and nothing else.
func readHeader(token string) (kid string, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", false
	}
	for _, part := range parts {
		if !isBase64URL(part) {
			return "", false
		}
	}
	var h header
	if !decodeStrictly(parts[0], &h, true) || h.Alg != algorithm || h.Typ != tokenType || h.Kid == "" {
		return "", false
	}
	var rest map[string]json.RawMessage
	return h.Kid, decodeStrictly(parts[1], &rest, false)
}

// isBase64URL refuses what Go's decoder forgives: line breaks.
func isBase64URL(part string) bool {
	for i := range len(part) {
		b := part[i]
		if b|0x20 >= 'a' && b|0x20 <= 'z' || b >= '0' && b <= '9' || b == '-' || b == '_' {
			continue
		}
		return false
	}
	return part != ""
}

// decodeStrictly reads one JSON object, in which no name may come twice: two readers could each believe another one. If closed,
// there may be no names but those of target.
func decodeStrictly(part string, target any, closed bool) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil || !uniqueNames(raw) {
		return false
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if closed {
		decoder.DisallowUnknownFields()
	}
	return decoder.Decode(target) == nil
}

// uniqueNames tells whether raw is one flat JSON object whose names differ, and are written in lower case: Go's decoder would
// take SUB for sub.
func uniqueNames(raw []byte) bool {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if first, err := decoder.Token(); err != nil || first != json.Delim('{') {
		return false
	}
	seen := make(map[string]bool)
	for decoder.More() {
		token, err := decoder.Token()
		name, ok := token.(string)
		if err != nil || !ok || seen[name] || strings.ToLower(strings.ToUpper(name)) != name {
			return false
		}
		seen[name] = true
		if value, err := decoder.Token(); err != nil || value == json.Delim('{') || value == json.Delim('[') {
			return false
		}
	}
	if _, err := decoder.Token(); err != nil {
		return false
	}
	_, err := decoder.Token()
	return errors.Is(err, io.EOF)
}

// session returns whom an access token stands for, and until when.
func (s *Service) session(ctx context.Context, c credential) (Identity, time.Time, error) {
	found, err := s.readAccessToken(ctx, c.text)
	if err != nil {
		return Identity{}, time.Time{}, err
	}
	user, err := s.living(ctx, found, c.now)
	if err != nil {
		return Identity{}, time.Time{}, err
	}
	return Identity{Principal: principalOf(user), Session: found.SessionID}, time.Unix(found.ExpiresAt, 0), nil
}

func principalOf(user *User) link.Principal {
	return link.Principal{Kind: link.KindUser, ID: user.ID, Name: user.label()}
}

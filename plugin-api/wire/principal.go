package wire

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/platformd/platformd/plugin-api/link"
)

// PrincipalText is how a principal stands in MetadataPrincipal.
func PrincipalText(p link.Principal) (string, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("encode a principal: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(text), nil
}

// ParsePrincipal reads what PrincipalText wrote.
func ParsePrincipal(text string) (p link.Principal, err error) {
	decoded, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(decoded, &p)
	}
	if err == nil && p.Kind == "" {
		err = fmt.Errorf("it has no kind")
	}
	if err != nil {
		return link.Principal{}, fmt.Errorf("decode a principal: %w", err)
	}
	return p, nil
}

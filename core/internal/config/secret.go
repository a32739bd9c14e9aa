package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// SecretURL is a URL that may contain a password. Every way of printing or marshalling it hides the password.
type SecretURL string

// redacted stands where a secret was.
const redacted = "xxxxx"

// Reveal returns the URL with its password, for whoever connects. It must not be logged.
func (s SecretURL) Reveal() string { return string(s) }

// String returns the URL with its password replaced by xxxxx.
func (s SecretURL) String() string { return redactURL(string(s)) }

// Format formats what String returns, so that a verb that does not suit a text, such as %d, is as safe as %v.
func (s SecretURL) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), s.String())
}

// MarshalText is String, so that JSON is as safe as %v.
func (s SecretURL) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Secret is a text that is secret as a whole; "" = none. Every way of printing or marshalling it hides it.
type Secret string

// Reveal returns the secret, for whoever must show it. It must not be logged.
func (s Secret) Reveal() string { return string(s) }

// String returns xxxxx, or nothing if there is no secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format formats what String returns, so that a verb that does not suit a text, such as %d, is as safe as %v.
func (s Secret) Format(f fmt.State, verb rune) { fmt.Fprintf(f, fmt.FormatString(f, verb), s.String()) }

// MarshalText is String, so that JSON is as safe as %v.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// redactURL hides the password of a URL, and the whole text where it cannot tell what in it is secret.
func redactURL(text string) string {
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" && !isSocket(u) {
		return redacted
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), redacted)
	}
	u.RawQuery = redactQuery(u.RawQuery)
	return u.String()
}

// isSocket reports whether u has the form unix:///path. An @ in the path may be the end of a password that has a / in it.
func isSocket(u *url.URL) bool {
	return u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/") && !strings.Contains(u.Path, "@")
}

// redactQuery hides ?password=… and the like: database drivers accept them.
func redactQuery(raw string) string {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return redacted
	}
	found := false
	for name := range query {
		if isSecretName(name) {
			query.Set(name, redacted)
			found = true
		}
	}
	if !found {
		return raw
	}
	return query.Encode()
}

// userPassword matches user:password@ after a scheme where the text around it is no well-formed URL: a password with a
// stray % or a ${VAR} in it must be found too.
var userPassword = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s:@]*:(\S*)@`)

// password returns the password in a text that may be a URL.
func password(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		if found := userPassword.FindStringSubmatch(text); found != nil {
			return found[1]
		}
		return ""
	}
	if word, _ := u.User.Password(); word != "" {
		return word
	}
	for name, values := range u.Query() {
		if strings.Contains(strings.ToLower(name), "pass") {
			return strings.Join(values, "")
		}
	}
	return ""
}

// givesAway reports whether text, as it stands in the file below the key of this path, contains a password or is a secret.
// One that is only a reference to the environment does not count. A misspelt key gives it away all the same.
func givesAway(path, text string) bool {
	secret := password(text)
	if plainKey(path) == "auth.oidc.clientsecret" {
		secret = text
	}
	return reference.ReplaceAllString(secret, "") != ""
}

// display returns text as an error message may show it: quoted, without passwords and not too long.
func display(text string) string {
	if password(text) != "" {
		text = redactURL(text)
	}
	if runes := []rune(text); len(runes) > 80 {
		text = string(runes[:80]) + "…"
	}
	return strconv.Quote(text)
}

// isSecretName reports whether a secret is kept under this name, as far as a name can tell.
func isSecretName(name string) bool {
	plain := strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(name))
	for _, word := range []string{"password", "passwd", "passphrase", "secret", "token", "apikey", "privatekey", "credential"} {
		if strings.Contains(plain, word) {
			return true
		}
	}
	return false
}

// redactAny returns a copy of a module's configuration without what looks like a secret: we cannot know which of its keys
// are secret, so rather too much is hidden than too little.
func redactAny(value any, secret bool) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			out[key] = redactAny(item, secret || isSecretName(key))
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = redactAny(item, secret)
		}
		return out
	case nil, bool:
		return v
	case string:
		if !secret && password(v) != "" {
			return redactURL(v)
		}
		if v == "" {
			return v
		}
	}
	if secret {
		return redacted
	}
	return value
}

package config

import (
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

// GoString is String, so that %#v is as safe as %v.
func (s SecretURL) GoString() string { return s.String() }

// MarshalText is String, so that JSON is as safe as %v.
func (s SecretURL) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// redactURL hides the password of a URL, and the whole text where it cannot tell what in it is secret.
func redactURL(text string) string {
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return redacted
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), redacted)
	}
	u.RawQuery = redactQuery(u.RawQuery)
	return u.String()
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

// givesAway reports whether text, as it stands in the file, contains a password. A password that is only a reference to
// the environment does not count.
func givesAway(text string) bool {
	return reference.ReplaceAllString(password(text), "") != ""
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

package config

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	cert, key := writePair(t)
	_, otherKey := writePair(t)
	text := func(cert, key string) string { return fmt.Sprintf("server: {tls: {cert: %q, key: %q}}", cert, key) }
	_, err := load(t, text(cert, key))
	require.NoError(t, err)
	for _, test := range []struct{ cert, key, code, message string }{
		{cert, "", "conflict", "`server.tls.key` must be set too"},
		{"", key, "conflict", "`server.tls.cert` must be set too"},
		{cert, key + "x", "unreadable", "`server.tls.key`: open "},
		{filepath.Dir(cert), key, "unreadable", "`server.tls.cert`: not a regular file"},
		{cert, otherKey, "bad_tls", "does not match"},
		{key, key, "bad_tls", "`server.tls`: "},
	} {
		_, err := load(t, text(test.cert, test.key))
		requireOne(t, err, test.code, test.message)
	}
}

// writePair writes a certificate and its key.
func writePair(t *testing.T) (cert, key string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	return cert, key
}

func TestExposedSecrets(t *testing.T) {
	t.Parallel()
	const url = "postgres://app:hunter2@db.example/app"
	for _, test := range []struct {
		text    string
		mode    os.FileMode
		exposed bool
	}{
		{"database: {url: '" + url + "'}", 0o600, false},
		{"database: {url: '" + url + "'}", 0o640, true},
		{"database: {url: '" + url + "'}", 0o604, true},
		{"\n\nevents: {url: 'amqp://u:hunter2@h'}", 0o644, true},
		{"cache: {url: 'redis://:hunter2@h'}", 0o644, true},
		{"cache: {url: 'redis://u:hunter2%@h'}", 0o644, true},
		{"database: {url: 'postgres://h/d?password=hunter2'}", 0o644, true},
		{"modules: {overrides: {blog: {config: {smtp: 'smtp://u:hunter2@h'}}}}", 0o644, true},
		{"database: {url: 'postgres://app:x${PW}@h'}", 0o644, true},
		{"database: {url: 'postgres://app:${PW}@h'}", 0o644, false},
		{"database: {url: '${PW}'}", 0o644, false},
		{"database: {url: 'postgres://h/d'}", 0o644, false},
		{"modules: {overrides: {blog: {config: {a: 'http://h:80/@x'}}}}", 0o644, false},
		{"server: {holdTimeout: 5}\ncache: {url: 'redis://u:hunter2@h'}", 0o644, true},
		{"cache: {url: 'unix://u:hunter2@/run/redis.sock'}", 0o644, true},
		{"cache: {url: 'unix:///run/redis.sock'}", 0o644, false},
		{provider("clientSecret: hunter2"), 0o600, false},
		{provider("clientSecret: hunter2"), 0o644, true},
		{provider("clientSecret: 'x${PW}'"), 0o640, true},
		{provider("client_secret: hunter2"), 0o644, true},
		{provider("clientSecret: [hunter2]"), 0o644, true},
		{provider("clientSecret: '${PW}'"), 0o644, false},
		{provider("clientSecret: ''"), 0o644, false},
		{provider("roleClaim: clientSecret"), 0o644, false},
	} {
		path := write(t, test.text)
		require.NoError(t, os.Chmod(path, test.mode))
		_, err := Load(Options{Path: path, Env: []string{"PW=hunter2"}})
		var errs Errors
		exposed := false
		if err != nil {
			require.ErrorAs(t, err, &errs)
			exposed = errs[len(errs)-1].Code == "secret_exposed"
			require.NotContains(t, err.Error(), "hunter2")
		}
		require.Equal(t, test.exposed, exposed, "%s: %v", test.text, err)
		if exposed {
			require.Contains(t, err.Error(), "\nfix: chmod 600 "+path)
			require.Contains(t, err.Error(), fmt.Sprintf("mode %04o", test.mode))
		}
	}
}

// A password that gets into the configuration gets out only through Reveal.
func TestPasswordsAreNeverPrinted(t *testing.T) {
	t.Parallel()
	for _, raw := range []SecretURL{"postgres://app:hunter2@db.example/app?sslmode=off", "postgres://app@h/d?password=hunter2&x=1",
		"amqp://:hunter2@h", "host=h password=hunter2", "redis://u:hunter2%@h", "postgres://h/d?password=hunter2;x", "hunter2"} {
		c := Default()
		c.Database.URL, c.Events.URL, c.Cache.URL = raw, raw, raw
		c.Auth.OIDC = []OIDC{{ClientSecret: "hunter2"}, {ClientID: "x", ClientSecret: Secret(raw)}}
		c.Modules.Overrides = map[string]Override{"blog": {Config: map[string]any{
			"dsn":         "smtp://u:hunter2@h",
			"nested":      []any{map[string]any{"apiKey": "hunter2", "secrets": map[string]any{"x": []any{"hunter2"}}}},
			"DB_PASSWORD": "hunter2", "text": "see smtp://u:hunter2@h"}}}
		asYAML, err := c.YAML()
		require.NoError(t, err)
		asJSON, err := json.Marshal(&c)
		require.NoError(t, err)
		byValue, err := json.Marshal(c.Database)
		require.NoError(t, err)
		authJSON, err := json.Marshal(c.Auth)
		require.NoError(t, err)
		require.Contains(t, string(authJSON), `"clientSecret":"xxxxx"`)
		invalid := c.Validate()
		require.Error(t, invalid)
		url := c.Database.URL
		for _, text := range []string{string(asYAML), string(asJSON), string(byValue), invalid.Error(), fmt.Sprint(url),
			fmt.Sprintf("%s %q %#v %x", url, url, url, url),
			fmt.Sprintf("%+v %#v", c.Database, c.Cache), fmt.Sprintf("%v %+v %#v", c.Auth, c.Auth, c.Auth),
			everyVerb(url), everyVerb(c.Auth.OIDC[0].ClientSecret), string(authJSON)} {
			require.NotContains(t, text, "hunter2")
			require.NotContains(t, text, fmt.Sprintf("%x", "hunter2"))
		}
		require.Equal(t, string(raw), url.Reveal())
	}
	require.Equal(t, "postgres://u:xxxxx@h/d?sslmode=off", SecretURL("postgres://u:hunter2@h/d?sslmode=off").String())
	require.Equal(t, "redis://h:1/0", SecretURL("redis://h:1/0").String())
	require.Empty(t, SecretURL("").String())
	require.Equal(t, "unix:///run/redis.sock?db=1", SecretURL("unix:///run/redis.sock?db=1").String())
	require.Equal(t, "unix://u:xxxxx@/run/redis.sock", SecretURL("unix://u:hunter2@/run/redis.sock").String())
	for _, url := range []SecretURL{"unix:///u:hunter2@h", "unix://u:hun/ter2@/s", "unix:hunter2"} {
		require.NotContains(t, url.String(), "ter2")
	}
	require.Empty(t, Secret("").String())
	require.Equal(t, "hunter2", Secret("hunter2").Reveal())
}

// everyVerb formats value in all ways that a type can have a say in, those included that do not suit a text.
func everyVerb(value any) (all string) {
	for _, verb := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnoqrstuvxyz" {
		all += fmt.Sprintf("%"+string(verb)+" ", value)
	}
	return all
}

// No message repeats a password that is in the wrong place.
func TestMessagesHidePasswords(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"server: {publicURL: 'https://u:hunter2@h'}", "server: {publicURL: 'ftp://u:hunter2@h'}",
		"server: {cors: {origins: ['https://u:hunter2@h']}}",
		"server: {listen: 'http://u:hunter2@h'}", "events: {exchange: 'amqp://u:hunter2@h'}", "log: {level: 'x://u:hunter2@h'}",
		"'x://u:hunter2@h': 1", "server: {holdTimeout: 'x://u:hunter2@h'}", "database: 'postgres://u:hunter2@h'",
		"database: {url: ['postgres://u:hunter2@h']}", "database: {url: 'postgres://u:hunter2@h', url: 'postgres://u:hunter2@h'}",
		"auth: {oidc: [hunter2]}", "auth: {oidc: {clientSecret: hunter2}}", provider("clientSecret: {hunter2: x}"),
		provider("clientSecret: 'hunter2${'"), provider("clientSecret: hunter2, clientSecret: hunter2"),
		provider("clientSecret: hunter2, clientId: x"), provider("roleClaim: {clientSecret: hunter2}"),
		provider("scopes: ['x://u:hunter2@h x']"), provider("roles: {'x://u:hunter2@h': [B]}"), provider("clientSecret: &hunter2"),
		"modules: {overrides: {'x://u:hunter2@h': {}}}", "server: {trustedProxies: ['x://u:hunter2%@h']}",
	} {
		_, err := load(t, text)
		require.Error(t, err, text)
		require.NotContains(t, err.Error(), "hunter2", text)
	}
}

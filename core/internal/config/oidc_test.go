package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// provider is a config.yaml with one provider, all in one line; keys are added to those that it must have.
func provider(keys string) string {
	return "auth: {oidc: [{name: a, url: 'https://a.example', clientID: x, " + keys + "}]}"
}

func TestBadProviders(t *testing.T) {
	t.Parallel()
	checkBadFiles(t, []badFile{
		{"auth: {oidc: {name: a}}", 1, "bad_type", "`auth.oidc` must be a list"},
		{"auth: {oidc: [a]}", 1, "bad_type", "`auth.oidc[0]` must be a block of keys and values"},
		{"auth:\n  oidc:\n    - name: a\n      url: https://a.example\n      clientId: x", 5, "unknown_key",
			"unknown key \"clientId\" in `auth.oidc[0]`; did you mean \"clientID\"?\nfix: rename it to clientID, or remove it"},
		{"auth:\n  oidc:\n    - url: https://a.example\n      clientID: x", 3, "bad_value",
			"`auth.oidc[0].name`: \"\" is not a name that a provider may have"},
		{"auth:\n  oidc:\n    - name: a\n      clientID: x", 3, "bad_url", "`auth.oidc[0].url` is not an absolute URL"},
		{"auth:\n  oidc:\n    - name: a\n      url: https://a.example", 3, "bad_value", "`auth.oidc[0].clientID` is empty"},
		{"auth: {oidc: [{name: A, url: 'https://a', clientID: x}]}", 1, "bad_value", `"A" is not a name that a provider may have`},
		{"auth: {oidc: [{name: a/b, url: 'https://a', clientID: x}]}", 1, "bad_value", `"a/b" is not a name`},
		{"auth: {oidc: [{name: " + strings.Repeat("a", 33) + ", url: 'https://a', clientID: x}]}", 1, "bad_value", "is not a name"},
		{"auth: {oidc: [{name: a, url: 'https://a', clientID: ' x'}]}", 1, "bad_value", "`auth.oidc[0].clientID`"},
		{"auth: {oidc: [{name: a, url: 'https://a', clientID: 5}]}", 1, "bad_type", "`auth.oidc[0].clientID` must be text"},
		{provider("clientSecret: 12"), 1, "bad_type", "`auth.oidc[0].clientSecret` must be text"},
		{provider("clientSecret: "), 1, "no_value", "`auth.oidc[0].clientSecret` has no value"},
		{provider("clientSecret: '${PD_UNSET}'"), 1, "unset_variable", "the environment variable PD_UNSET is not set"},
		{provider("allowSignUp: 'true'"), 1, "bad_type", "`auth.oidc[0].allowSignUp` must not be text"},
		{provider("scopes: [profile email]"), 1, "bad_value", "`auth.oidc[0].scopes[0]`: \"profile email\" is not a scope"},
		{provider("scopes: ['']"), 1, "bad_value", "`auth.oidc[0].scopes[0]`"},
		{provider("scopes: openid"), 1, "bad_type", "`auth.oidc[0].scopes` must be a list"},
		{provider("roleClaim: g, roles: {v: r}"), 1, "bad_type", "`auth.oidc[0].roles.v` must be a list"},
		{provider("\nroleClaim: g,\nroles: {v: [r,\nR]}"), 4, "bad_value",
			"`auth.oidc[0].roles.v[1]`: \"R\" is not a name that a role may have"},
		{provider("roleClaim: g, roles: {v: ['']}"), 1, "bad_value", "is not a name that a role may have"},
		{provider("roleClaim: g, roles: {'': [r]}"), 1, "bad_value", "a value of the claim is empty"},
		{provider("roleClaim: g, roles: {' v': [r]}"), 1, "bad_value", "a value of the claim is empty, or has spaces"},
		{provider("roles: {\nv: [r]}"), 1, "conflict", "`auth.oidc[0].roles` has no effect without roleClaim"},
		{"auth:\n  oidc:\n    - {name: a, url: 'https://a', clientID: x}\n    - {name: b, url: 'https://a', clientID: x}\n" +
			"    - url: https://c\n      name: a\n      clientID: x", 6, "conflict",
			"`auth.oidc[2].name`: \"a\" is already the name of auth.oidc[0]"},
	})
}

func TestIssuerURL(t *testing.T) {
	t.Parallel()
	text := func(url string) string { return fmt.Sprintf("auth: {oidc: [{name: a, clientID: x, url: %q}]}", url) }
	for _, url := range []string{"https://a.example", "https://a.example:8443/realms/x/", "https://[2001:db8::1]/",
		"http://localhost", "http://localhost:8081/x", "http://127.0.0.1:1", "http://127.1.2.3", "http://[::1]:80/"} {
		c, err := load(t, text(url))
		require.NoError(t, err, url)
		require.Equal(t, url, c.Auth.OIDC[0].URL, "the issuer is compared byte by byte")
	}
	for url, message := range map[string]string{
		"a.example": "is not an absolute URL", "https://": "is not an absolute URL", "https://:443": "is not an absolute URL",
		"https:a.example": "is not an absolute URL", "https://%zz?hunter2": "is not an absolute URL",
		"ftp://a.example": "is not an https URL", "http://a.example": "must be https", "http://10.0.0.1": "must be https",
		"http://localhost.a.example": "must be https", "http://127.0.0.1.a.example": "must be https",
		"http://128.0.0.1":           "must be https",
		"http://localhost@a.example": "must have no user", "https://u:hunter2@a.example": "must have no user",
		"https://a.example?client_secret=hunter2": "must have no user", "https://a.example?": "must have no user",
		"https://a.example#": "must have no user", "ftp://a.example?x=hunter2": "must have no user",
		"https://a.example:70000": "port 70000 is out of range",
	} {
		_, err := load(t, text(url))
		require.Error(t, err, url)
		require.ErrorContains(t, err, "`auth.oidc[0].url`")
		require.ErrorContains(t, err, message)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

// Every provider's faults are told at once, each with its own line.
func TestAllProvidersAtOnce(t *testing.T) {
	t.Parallel()
	path := write(t, "auth:\n  oidc:\n    - {name: A}\n    - {name: b, url: 'http://b',\n       clientID: x}\n    -\n")
	_, err := Load(Options{Path: path, Env: []string{}})
	var errs Errors
	require.ErrorAs(t, err, &errs)
	var found []string
	for _, e := range errs {
		found = append(found, strings.TrimPrefix(e.Source, path)+" "+e.Key)
	}
	require.Equal(t, []string{":3 auth.oidc[0].clientID", ":3 auth.oidc[0].name", ":3 auth.oidc[0].url", ":4 auth.oidc[1].url",
		":6 auth.oidc[2].clientID", ":6 auth.oidc[2].name", ":6 auth.oidc[2].url"}, found)
}

func TestProvidersFromEnvironment(t *testing.T) {
	t.Parallel()
	const file = "auth:\n  oidc: [{name: old, url: 'https://old', clientID: x, roleClaim: g, roles: {v: [r]}}, {name: older}]"
	const json = `[{"name": "new", "url": "https://new.example", "clientID": "p", "clientSecret": "hunter2${X}$$"}]`
	want := []OIDC{{Name: "new", URL: "https://new.example", ClientID: "p", ClientSecret: "hunter2${X}$$"}}
	c, err := load(t, file, "PLATFORMD_AUTH_OIDC="+json)
	require.NoError(t, err)
	require.Equal(t, want, c.Auth.OIDC, "the variable replaces the list")

	secret := filepath.Join(t.TempDir(), "oidc")
	require.NoError(t, os.WriteFile(secret, []byte("- name: new\n  url: https://new.example\n  clientID: p\n"+
		"  clientSecret: hunter2${X}$$\n"), 0o644))
	c, err = load(t, file, "PLATFORMD_AUTH_OIDC_FILE="+secret)
	require.NoError(t, err)
	require.Equal(t, want, c.Auth.OIDC)
	_, err = load(t, file, "PLATFORMD_AUTH_OIDC_FILE="+secret, "PLATFORMD_AUTH_OIDC="+json)
	requireOne(t, err, "conflict", "both PLATFORMD_AUTH_OIDC and PLATFORMD_AUTH_OIDC_FILE are set")
	require.NotContains(t, err.Error(), "hunter2")

	c, err = load(t, provider("clientSecret: '${S}'"), "S=${hunter}$$", "PLATFORMD_LOG_LEVEL=warn", "PLATFORMD_AUTH_ACCESSTTL=1h")
	require.NoError(t, err)
	require.Equal(t, "${hunter}$$", c.Auth.OIDC[0].ClientSecret.Reveal(), "other variables leave the list alone")
}

// A provider as config.yaml shows it in comments is one.
func TestShippedExample(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(shipped)
	require.NoError(t, err)
	_, example, found := strings.Cut(string(data), "  # oidc:\n")
	require.True(t, found)
	example, _, _ = strings.Cut(example, "\n\n")
	text := "auth:\n  oidc:\n" + strings.ReplaceAll(example, "  # ", "  ") + "\n"
	path := write(t, text)
	require.NoError(t, os.Chmod(path, 0o644))
	c, err := Load(Options{Path: path, Env: []string{"EXAMPLE_CLIENT_SECRET=s3"}})
	require.NoError(t, err, text)
	require.Equal(t, []OIDC{{Name: "example", URL: "https://accounts.example.com", ClientID: "platformd", ClientSecret: "s3",
		Scopes: []string{"profile", "email", "groups"}, RoleClaim: "groups", AllowSignUp: true,
		Roles: map[string][]string{"engineering": {"editor", "reviewer"}, "everyone": {"reader"}}}}, c.Auth.OIDC)
	printed, err := c.YAML()
	require.NoError(t, err)
	require.Contains(t, string(printed), "clientSecret: xxxxx\n")
}

// What is described of a provider is what there is.
func TestProviderIsDescribed(t *testing.T) {
	t.Parallel()
	s, err := schema()
	require.NoError(t, err)
	keys := s.Properties["auth"].Properties["oidc"].Items.Properties
	require.Len(t, providerDescriptions(), len(keys))
	for name, key := range keys {
		require.NotEmpty(t, key.Description, name)
		require.Nil(t, key.Default, name)
	}
	require.Equal(t, []string{"name", "url", "clientID"}, s.Properties["auth"].Properties["oidc"].Items.Required)
}

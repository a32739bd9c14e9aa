package identity

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/canonical"
	"github.com/platformd/platformd/core/internal/storage"
)

func isA(err, target error) bool { return errors.Is(err, target) }

func TestNormalizeEmail(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"ada@example.com":                         "ada@example.com",
		" Ada.L+x@Example.COM\t\n":                "ada.l+x@example.com",
		"a@localhost":                             "a@localhost",
		"o'neil@example.com":                      "o'neil@example.com",
		"jose\u0301@example.com":                  "jos\u00e9@example.com",
		"JOSÉ@BÜCHER.example":                     "josé@bücher.example",
		"\u212aelvin@example.com":                 "kelvin@example.com", // the sign for kelvin is no other person's k
		"用户@例子.中国":                                "用户@例子.中国",
		strings.Repeat("a", 242) + "@example.com": strings.Repeat("a", 242) + "@example.com",
	} {
		got, err := NormalizeEmail(given)
		require.NoError(t, err, given)
		require.Equal(t, want, got)
	}
	for name, email := range map[string]string{
		"empty": "", "space": " ", "no at": "ada", "no local part": "@example.com", "no domain": "ada@", "two": "a@b@c",
		"display name": "Ada <ada@example.com>", "angle brackets": "<ada@example.com>", "comment": "ada@example.com (Ada)",
		"quoted": `"ada"@example.com`, "quoted space": `"a b"@example.com`, "list": "a@b.c, d@e.f", "group": "g:a@b.c;",
		"inner space": "a da@example.com", "line break": "ada@exam\nple.com", "header": "a@b.c\r\nBcc: d@e.f",
		"zero byte": "a\x00@example.com", "terminal escape": "a\x1b[31m@example.com", "right to left": "a\u202eb@example.com",
		"zero width": "a\u200bb@example.com", "no-break space": "a\u00a0b@example.com", "not UTF-8": "a\xff@example.com",
		"long": strings.Repeat("a", 243) + "@example.com", "huge": strings.Repeat("a", 1<<20) + "@example.com",
		"dots": "a..b@example.com", "encoded word": "=?utf-8?q?a?= <a@b.c>", "domain with space": "a@exam ple.com",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := NormalizeEmail(email)
			require.Empty(t, got)
			requireBad(t, err, "not an e-mail address")
		})
	}
}

func TestNormalizeName(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"": "", "  Ada  Lovelace\n": "Ada  Lovelace", "Jose\u0301": "José", strings.Repeat("é", 200): strings.Repeat("é", 200),
	} {
		got, err := normalizeName(given)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, name := range []string{strings.Repeat("é", 201), "a\nb", "a\x1b[31m", "a\u202eb", "a\u200bb", "a\x00", "a\xff"} {
		_, err := normalizeName(name)
		requireBad(t, err, "the name of a user")
	}
}

func TestPasswordPolicy(t *testing.T) {
	t.Parallel()
	for _, password := range []string{
		"0123456789", "          ", "éééééééééé", strings.Repeat("x", 1024), strings.Repeat("é", 512), "tab\tand\x00more",
	} {
		require.NoError(t, checkPassword("ada@example.com", password), password)
	}
	for password, says := range map[string]string{
		"":                        "at least 10 characters",
		"012345678":               "at least 10 characters",
		"ééééé":                   "at least 10 characters", // ten bytes
		strings.Repeat("x", 1025): "at most 1024 bytes",
		"0123456789\xff":          "UTF-8",
		"ada@example.com":         "the password is the e-mail address",
		"  ADA@Example.com ":      "the password is the e-mail address",
	} {
		requireBad(t, checkPassword("ada@example.com", password), says)
	}
}

func TestCreateRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, storageAt(t))
	for name, n := range map[string]NewUser{
		"no address":     {},
		"bad address":    {Email: "Ada <ada@example.com>"},
		"bad name":       {Email: "ada@example.com", Name: "a\nb"},
		"empty password": {Email: "ada@example.com", Password: new("")},
		"short password": {Email: "ada@example.com", Password: new("012345678")},
		"long password":  {Email: "ada@example.com", Password: new(strings.Repeat("x", 1025))},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.Create(t.Context(), n)
			requireBad(t, err, "")
		})
	}
	_, _, err := d.Invite(t.Context(), "ada", "")
	requireBad(t, err, "not an e-mail address")
	require.Zero(t, d.hashed.Load(), "refused before any work")
	require.False(t, d.exists(t, usersTable))
}

func FuzzNormalizeEmail(f *testing.F) {
	for _, seed := range []string{
		"ada@example.com", " Ada <a@b.c>", "\"a b\"@c", "İ@example.com", "a\u0345\u0301@x", "ß@ẞ.de", "a@[::1]",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, email string) {
		plain, err := NormalizeEmail(email)
		if err != nil {
			return
		}
		again, err := NormalizeEmail(plain)
		if err != nil || again != plain {
			t.Errorf("%q is %q is %q, %v", email, plain, again, err)
		}
		if len(plain) > maxEmail || !canonical.Printable(plain) || strings.ContainsAny(plain, " \"<>(),;") ||
			strings.Count(plain, "@") != 1 {
			t.Errorf("%q is %q", email, plain)
		}
	})
}

func storageAt(t *testing.T) storage.Options { return storage.Options{DataDir: t.TempDir()} }

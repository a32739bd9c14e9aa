package signin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/core/internal/jsonbody"
)

// page wants an HTML page with all that keeps it from harm.
func (a answer) page(t *testing.T, status int, says string) {
	t.Helper()
	require.Equal(t, status, a.status, a.body)
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
		"X-Content-Type-Options": "nosniff",
		"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; " +
			"frame-ancestors 'none'",
	} {
		require.Equal(t, want, a.header.Get(name), name)
	}
	require.Empty(t, a.header.Values("Set-Cookie"))
	require.Contains(t, a.body, says)
	require.NotContains(t, a.body, "(fix:")
	require.NotContains(t, a.body, "<script")
	require.True(t, strings.HasSuffix(a.body, "</html>\n"), "it is whole")
}

// setupLink is the secret of a new one.
func (w *world) setupLink() string {
	w.t.Helper()
	made, err := w.deps.Identity.SetupLink(w.t.Context())
	require.NoError(w.t, err)
	return made.Secret
}

// invite makes a user who has to choose a password.
func (w *world) invite(email string) (identity.User, string) {
	w.t.Helper()
	user, made, err := w.deps.Identity.Invite(w.t.Context(), email, "")
	require.NoError(w.t, err)
	return user, made.Secret
}

func asAda(token string) []string {
	return []string{"token", token, "email", "ada@example.com", "name", "Ada", "password", passphrase}
}

func TestSetupByForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.setupLink()
	for range 3 { // mail programs look, too
		got := w.do(call{line: "GET /setup?token=" + token})
		got.page(t, 200, `<input type="hidden" name="token" value="`+token+`">`)
		for _, wanted := range []string{
			`<label for="email">`, `<label for="name">`, `<label for="password">`, `autocomplete="username"`,
			`autocomplete="new-password"`, "autofocus",
		} {
			require.Contains(t, got.body, wanted)
		}
	}
	done := w.fill("POST /setup?token="+token, asAda(token)...)
	done.page(t, 201, "You can sign in as ada@example.com.")
	require.NotContains(t, done.body, "<form")
	require.NotContains(t, done.body, token)
	require.NotContains(t, done.body, passphrase)

	var self map[string]any
	w.do(call{line: "GET /auth/me", token: w.login("ada@example.com").Access}).decode(t, &self)
	require.Equal(t, "Ada", self["name"])
	require.Contains(t, self["permissions"], "platform.user.delete")
	row := w.rows("platform.setup", 1)[0]
	require.Equal(t, self["id"], row.Actor.ID)
	require.Equal(t, "user/"+row.Actor.ID, row.Resource)
	require.Equal(t, audit.Done, row.Outcome)

	for _, got := range []answer{w.fill("POST /setup", asAda(token)...), w.do(call{line: "GET /setup?token=" + token})} {
		got.page(t, 403, "<strong>The link has been used already.</strong> Sign in, or ask for a new one.")
		require.NotContains(t, got.body, "<form", "there is nothing to fill in any more")
		require.NotContains(t, got.body, "Make the first account")
	}
	require.Equal(t, audit.Denied, w.rows("platform.setup", 2)[1].Outcome)
	w.nothingInternal()
}

func TestSetupByJSON(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.setupLink()
	token := w.setupLink() // takes its place
	ask := func(token string) answer {
		return w.send("POST /setup", "", map[string]string{
			"token": token, "email": "Ada@Example.com", "name": " Ada ", "password": passphrase,
		})
	}
	ask(old).refused(t, 403, "link is not valid")
	w.do(call{line: "GET /setup?token=" + old}).page(t, 403, "The link is not valid.")
	got := ask(token)
	require.Equal(t, 201, got.status, got.body)
	require.Equal(t, "no-store", got.header.Get("Cache-Control"))
	require.NotContains(t, got.body, passphrase)
	var user identity.User
	got.decode(t, &user)
	require.Equal(t, "ada@example.com Ada", user.Email+" "+user.Name)
	ask(token).refused(t, 403, "link has been used already")
	_, err := w.deps.Identity.SetupLink(t.Context())
	require.ErrorIs(t, err, identity.ErrSetupDone)
	w.nothingInternal()
}

func TestALinkThatIsTooOld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	setup := w.setupLink()
	w.move(59 * time.Minute)
	w.do(call{line: "GET /setup?token=" + setup}).page(t, 200, "<form")
	w.move(time.Minute)
	w.do(call{line: "GET /setup?token=" + setup}).page(t, 403, "<strong>The link has expired.</strong> Ask for a new one.")
	w.fill("POST /setup", asAda(setup)...).page(t, 403, "The link has expired.")
	w.fill("POST /setup", asAda(w.setupLink())...).page(t, 201, "Done.")

	_, invited := w.invite("bob@example.com")
	w.move(7 * 24 * time.Hour)
	w.do(call{line: "GET /password?token=" + invited}).page(t, 403, "The link has expired.")
	w.send("POST /password", "", map[string]string{"token": invited, "password": passphrase}).refused(t, 403, "link has expired")
}

// What makes no sense says so, and leaves the link as it is.
func TestWhatIsFilledInBadly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.setupLink()
	for name, c := range map[string]struct{ key, value, says string }{
		"no address":     {"email", "", "This is not an e-mail address."},
		"no e-mail":      {"email", "ada", "Write it as name@example.com"},
		"two":            {"email", "ada@example.com, eve@example.com", "This is not an e-mail address."},
		"a line break":   {"email", "ada@example.com\r\nBcc: eve@example.com", "This is not an e-mail address."},
		"escapes":        {"name", "A\x1b[31mda", "printable characters"},
		"backwards":      {"name", "A\u202eda", "printable characters"},
		"a long name":    {"name", strings.Repeat("x", 201), "at most 200"},
		"no password":    {"password", "", "at least 10 characters"},
		"short password": {"password", "123456789", "<strong>A password has at least 10 characters.</strong> Choose a longer one"},
		"long password":  {"password", strings.Repeat("x", 1025), "at most 1024 bytes"},
		"the address":    {"password", "ada@example.com", "The password is the e-mail address."},
		"no text":        {"password", strings.Repeat("\xff", 20), "text in UTF-8"},
	} {
		fields := asAda(token)
		fields[slices.Index(fields, c.key)+1] = c.value
		got := w.fill("POST /setup", fields...)
		got.page(t, 400, c.says)
		require.Contains(t, got.body, `name="token" value="`+token+`"`, name)
		require.Contains(t, got.body, `role="alert"`, name)
		if c.key == "password" && len(c.value) >= 10 && c.value != "ada@example.com" {
			require.NotContains(t, got.body, c.value, name)
		}
		if c.key != "email" {
			require.Contains(t, got.body, `value="ada@example.com"`, "it need not be written again")
		}
	}
	needed, err := w.deps.Identity.NeedsSetup(t.Context())
	require.NoError(t, err)
	require.True(t, needed)
	w.fill("POST /setup", asAda(token)...).page(t, 201, "Done.")
	w.nothingInternal()
}

func TestFormsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.setupLink()
	for _, line := range []string{"POST /setup", "POST /password"} {
		w.do(call{line: line, kind: formType, body: "token=%zz"}).page(t, 400, "The body could not be read")
		long := w.do(call{line: line, kind: formType, body: "token=" + strings.Repeat("x", jsonbody.Max)})
		long.page(t, 413, "The body has more than 65536 bytes.")
		require.NotContains(t, long.body, "<form")
	}
	// What is in the address counts for nothing.
	query := "?token=" + token + "&email=eve@example.com&password=" + url.QueryEscape(passphrase)
	w.do(call{line: "POST /setup" + query, kind: formType}).page(t, 403, "The link is not valid.")
	w.nothingInternal()
}

// hostile is what somebody may call themselves, or send as anything.
const hostile = `"><script>alert(1)</script><img src=x onerror='x'>&{{.Token}}`

func TestPagesEscapeWhatOthersWrote(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.setupLink()
	got := w.fill("POST /setup", "token", token, "email", hostile, "name", hostile, "password", hostile)
	got.page(t, 400, `value="&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;`)
	require.NotContains(t, got.body, "<img")
	for _, line := range []string{"/setup", "/password"} {
		w.do(call{line: "GET " + line + "?token=" + url.QueryEscape(hostile)}).page(t, 403, "The link is not valid.")
		got := w.fill("POST "+line, "token", hostile, "email", hostile, "name", hostile, "password", hostile)
		got.page(t, 403, "The link is not valid.")
		require.NotContains(t, got.body, "alert(1)", "it is not even said again")
	}
	done := w.fill("POST /setup", "token", token, "email", `o'neil&co@example.com`, "name", hostile, "password", hostile)
	done.page(t, 201, "o&#39;neil&amp;co@example.com")
	_, invited := w.invite(`a&b@example.com`)
	w.do(call{line: "GET /password?token=" + invited}).page(t, 200, `readonly value="a&amp;b@example.com"`)
}

// Another site cannot make a browser do anything here: what it would have to send is in no cookie, but in the link.
func TestAnotherSiteCannotFillInTheForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.setupLink()
	others := map[string]string{
		"Origin": "https://evil.example", "Referer": "https://evil.example/", "Sec-Fetch-Site": "cross-site",
		"Cookie": "token=" + token,
	}
	for _, guess := range []string{"", "x", strings.Repeat("A", 43), token[:42], token + "x", strings.ToLower(token)} {
		body := url.Values{"token": {guess}, "email": {"eve@example.com"}, "password": {passphrase}}.Encode()
		w.do(call{line: "POST /setup", kind: formType, body: body, header: others}).page(t, 403, "The link is not valid.")
		w.do(call{line: "POST /password", kind: formType, body: body, header: others}).page(t, 403, "The link is not valid.")
	}
	body := fmt.Sprintf(`{"token":%q,"email":"eve@example.com","password":%q}`, token, passphrase)
	w.do(call{line: "POST /setup", kind: "text/plain", body: body, header: others}).refused(t, 415, "Content-Type")
	needed, err := w.deps.Identity.NeedsSetup(t.Context())
	require.NoError(t, err)
	require.True(t, needed)
}

// Of many at the same moment one becomes the administrator.
func TestSetupAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.setupLink()
	var mu sync.Mutex
	var all sync.WaitGroup
	statuses := map[int]int{}
	for i := range 8 {
		all.Go(func() {
			fields := asAda(token)
			fields[3] = fmt.Sprintf("u%d@example.com", i)
			got := w.fill("POST /setup", fields...)
			mu.Lock()
			defer mu.Unlock()
			statuses[got.status]++
		})
	}
	all.Wait()
	require.Equal(t, map[int]int{201: 1, 403: 7}, statuses)
	found, err := w.deps.Identity.List(t.Context(), identity.Page{Limit: 10})
	require.NoError(t, err)
	require.Len(t, found.Users, 1)
	w.nothingInternal()
}

// What cannot be done now can be done again: nobody is told more, and the link is as good as before.
func TestSetupDuringAnOutage(t *testing.T) {
	t.Parallel()
	broken := errors.New("secret of the database")
	w := newWorld(t, func(w *world, _ *auth.Options) {
		w.deps.Administrator = func(_ context.Context, tx *gorm.DB, first identity.User) error {
			if broken != nil {
				return broken
			}
			return w.authz.AssignTx(tx, authz.Admin, authz.ToUser(first.ID))
		}
		w.deps.Appointed = func(context.Context) error { return errors.New("not now") }
	})
	token := w.setupLink()
	got := w.fill("POST /setup", asAda(token)...)
	got.page(t, http.StatusInternalServerError, "<strong>Something went wrong here.</strong> Try again")
	require.NotContains(t, got.body, "secret")
	require.Contains(t, got.body, "<form")
	require.Contains(t, w.log(), "secret of the database")
	require.NotContains(t, w.log(), passphrase)
	require.NotContains(t, w.log(), token)
	fields := map[string]string{"token": token, "email": "ada@example.com", "password": passphrase}
	require.Equal(t, 500, w.send("POST /setup", "", fields).status)
	require.Equal(t, audit.Failed, w.rows("platform.setup", 2)[1].Outcome)
	broken = nil
	w.fill("POST /setup", asAda(token)...).page(t, 201, "Done.") // though what it may do is not known everywhere yet
	require.Contains(t, w.log(), "not now")
	require.NoError(t, w.authz.Refresh(t.Context()))
	require.Contains(t, w.do(call{line: "GET /auth/me", token: w.login("ada@example.com").Access}).body, "platform.user.delete")
}

func TestAPasswordByInvitation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	user, token := w.invite("bob@example.com")
	got := w.do(call{line: "GET /password?token=" + token})
	got.page(t, 200, `autocomplete="username" readonly value="bob@example.com"`)
	require.NotContains(t, got.body, `for="name"`)
	bad := w.fill("POST /password", "token", token, "password", "short", "email", "bob@example.com")
	bad.page(t, 400, "at least 10 characters")
	require.Contains(t, bad.body, `readonly value="bob@example.com"`)
	w.fill("POST /password", "token", token, "password", passphrase, "email", "eve@example.com").
		page(t, 201, "You can sign in as bob@example.com.")
	w.login("bob@example.com")
	w.fill("POST /password", "token", token, "password", passphrase).page(t, 403, "The link has been used already.")
	rows := w.rows("user.password", 3)
	require.Equal(t, audit.Denied, rows[0].Outcome)
	require.Equal(t, audit.Done, rows[1].Outcome)
	require.Equal(t, "user/"+user.ID, rows[1].Resource)
	w.nothingInternal()
}

func TestAPasswordByReset(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.person("ada")
	before := w.login("ada@example.com")
	reset := func() string {
		made, err := w.deps.Identity.ResetLink(t.Context(), ada.ID)
		require.NoError(t, err)
		return made.Secret
	}
	old, token := reset(), reset()
	accept := func(token, password string) answer {
		return w.send("POST /password", "", map[string]string{"token": token, "password": password})
	}
	accept(old, passphrase).refused(t, 403, "link is not valid")
	got := accept(token, "another passphrase\n")
	require.Equal(t, 201, got.status, got.body)
	require.NotContains(t, got.body, "passphrase")
	require.Equal(t, 401, w.me(before.Access), "whoever had the password before is out")
	login := func(password string) int {
		return w.send("POST /auth/login", "", map[string]string{"email": "ada@example.com", "password": password}).status
	}
	require.Equal(t, 200, login("another passphrase\n"), "JSON says what it means")
	w.fill("POST /password", "token", reset(), "password", "a third passphrase\r\n").page(t, 201, "Done.")
	require.Equal(t, 200, login("a third passphrase"), "curl --data-urlencode password@FILE sends the line's end too")

	token = reset()
	require.NoError(t, w.deps.Identity.SetDisabled(t.Context(), ada.ID, true))
	accept(token, passphrase).refused(t, 403, "link is not valid")
	w.nothingInternal()
}

// A link opens what it was made for, and nothing else.
func TestLinksOfAnotherKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	setup := w.setupLink()
	w.do(call{line: "GET /password?token=" + setup}).page(t, 403, "The link is not valid.")
	w.fill("POST /password", "token", setup, "password", passphrase).page(t, 403, "The link is not valid.")
	_, invited := w.invite("bob@example.com") // by an operator, before there is an administrator
	w.do(call{line: "GET /setup?token=" + invited}).page(t, 403, "The link is not valid.")
	w.fill("POST /setup", asAda(invited)...).page(t, 403, "The link is not valid.")
	w.fill("POST /setup", asAda(setup)...).page(t, 403, "The platform has been set up already.")
	for _, line := range []string{"/setup", "/password"} {
		for _, query := range []string{"", "?token=", "?token=x&token=" + invited, "?TOKEN=" + invited, "?token=%00"} {
			got := w.do(call{line: "GET " + line + query})
			got.page(t, 403, "<strong>The link is not valid.</strong> Copy it whole, or ask for a new one.")
		}
	}
	w.nothingInternal()
}

package e2e

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// browser is a tab of a real Chromium, which collects what the page complains of.
type browser struct {
	t   *testing.T
	tab context.Context // which is how chromedp is told of it

	mu         sync.Mutex
	complaints []string
}

// newBrowser skips the test where there is none: it is a program that people have, not a server that tests may demand.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("install Chromium to test the forms in it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.WindowSize(1280, 800))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*patience)
	allocator, quit := chromedp.NewExecAllocator(limited, options...)
	tab, leave := chromedp.NewContext(allocator)
	b := &browser{t: t, tab: tab}
	console, heard := chromedp.Console(tab), make(chan struct{})
	go func() {
		defer close(heard)
		for message, err := range console {
			if err != nil {
				return // the tab is closed
			}
			b.mu.Lock()
			b.complaints = append(b.complaints, message.Text)
			b.mu.Unlock()
		}
	}()
	t.Cleanup(func() { leave(); <-heard; quit(); cancel() })
	return b
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Do(b.tab, steps...))
}

// text is what a person reads.
func (b *browser) text() string {
	b.t.Helper()
	text, err := chromedp.Run(b.tab, chromedp.Text(chromedp.CSS("main")))
	require.NoError(b.t, err)
	return text
}

// told evaluates an expression about the page.
func told[T any](b *browser, expression string) T {
	b.t.Helper()
	value, err := chromedp.Run(b.tab, chromedp.Evaluate[T](expression))
	require.NoError(b.t, err)
	return value
}

// focuses waits until one can type into a field: the browser sees to that when it has shown the page.
func (b *browser) focuses(field string) {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return told[string](b, "document.activeElement.id") == field },
		patience, 10*time.Millisecond, field)
}

// submit presses the button and waits for the next page.
func (b *browser) submit(status int64) {
	b.t.Helper()
	answer, err := chromedp.RunResponse(b.tab, press())
	require.NoError(b.t, err)
	require.Equal(b.t, status, answer.Status)
}

func press() chromedp.Action[chromedp.Void] { return chromedp.Click(chromedp.CSS("button")) }

func typed(field, text string) chromedp.Action[chromedp.Void] {
	return chromedp.SendKeys(chromedp.CSS("#"+field), text)
}

// TestAccessByBrowser is how a person comes to the first account, and a second one to a password: with a real browser, which
// takes headers, the form's own rules and what is escaped at their word.
func TestAccessByBrowser(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	p := start(t, options{modules: []string{"hello"}})

	b.do(chromedp.Navigate(p.url + p.setupPath()))
	b.focuses("email")
	b.do(typed("email", adminEmail), typed("name", "R\u00fct <b>"), typed("password", "short"))
	b.do(press())
	require.True(t, told[bool](b, "document.querySelector('#password').validity.tooShort"), "the browser says so itself")
	require.True(t, told[bool](b, "document.querySelector('form').noValidate = true"))
	b.submit(http.StatusBadRequest)
	require.Contains(t, b.text(), "A password has at least 10 characters. Choose a longer one")
	require.Equal(t, "R\u00fct <b>", told[string](b, "document.querySelector('#name').value"))
	b.focuses("email")
	b.do(typed("password", goodWords))
	b.submit(http.StatusCreated)
	require.Contains(t, b.text(), "You can sign in as "+adminEmail)
	require.Zero(t, told[int](b, "document.forms.length"))
	admin := p.login(adminEmail, goodWords).Access
	require.Equal(t, "R\u00fct <b>", p.ok(http.MethodGet, api+"/auth/me", admin, nil)["name"])
	b.do(chromedp.Navigate(p.url + p.setupPath()))
	require.Contains(t, b.text(), "The link has been used already. Sign in")

	link, _ := p.ok(http.MethodPost, api+"/users/invite", admin, map[string]any{"email": "bob@example.com"})["url"].(string)
	require.NotEmpty(t, link)
	b.do(chromedp.Navigate(link))
	b.focuses("password")
	require.Equal(t, "bob@example.com", told[string](b, "document.querySelector('[autocomplete=username]').value"))
	b.do(typed("password", goodWords))
	b.submit(http.StatusCreated)
	require.Contains(t, b.text(), "You can sign in as bob@example.com")
	p.login("bob@example.com", goodWords)

	b.mu.Lock()
	defer b.mu.Unlock()
	for _, complaint := range b.complaints { // an answer of 400 or 403 is one, to Chromium
		require.Contains(t, complaint, "the server responded with a status of 40")
	}
}

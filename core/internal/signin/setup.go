package signin

import (
	_ "embed"
	"html/template"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/problem"
)

//go:embed form.html
var formSource string

// form is the one page that the platform has of its own.
var form = template.Must(template.New("form.html").Parse(formSource))

// page is what the form shows.
type page struct {
	Title, Intro string
	Token        string // empty: there is nothing to fill in
	Account      bool   // ask for email and name too
	Email, Name  string
	Problem      string
	Done         string
}

func (p page) show(w http.ResponseWriter, status int) error {
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer") // the address holds a secret
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy",
		"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	return form.Execute(w, p)
}

func setupPage() page {
	return page{
		Title: "Set up platformd", Intro: "Make the first account. It may do everything, and can make others.", Account: true,
	}
}

func passwordPage() page {
	return page{Title: "Choose a password", Intro: "You sign in with it from now on."}
}

func (s *signin) setupForm(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	return s.showForm(w, r, setupPage(), identity.PurposeSetup)
}

func (s *signin) passwordForm(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	return s.showForm(w, r, passwordPage(), identity.PurposeInvite, identity.PurposeReset)
}

// showForm shows the form if the link is good for it, and else why not. It uses nothing up: mail programs look at links too.
func (s *signin) showForm(w http.ResponseWriter, r *http.Request, p page, purposes ...identity.Purpose) error {
	token := r.URL.Query().Get("token")
	purpose, err := s.deps.Identity.CheckLink(r.Context(), token)
	if err == nil && !slices.Contains(purposes, purpose) {
		err = identity.ErrLinkInvalid
	}
	if err != nil {
		refusal, public := problem.FromError(refused(err))
		if !public {
			return err
		}
		p.Problem = withoutFix(refusal.Detail)
		return p.show(w, refusal.Status)
	}
	p.Token = token
	return p.show(w, http.StatusOK)
}

// filled is what comes back of a form, or as JSON.
type filled struct {
	Token    string `json:"token"`
	Email    string `json:"email"`
	Name     string `json:"name"`
	Password string `json:"password"`
}

// read takes either kind, and tells which it was.
func (f *filled) read(r *http.Request) (isForm bool, err error) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch kind {
	case "application/x-www-form-urlencoded":
		if err := r.ParseForm(); err != nil {
			return true, badRequest("the form could not be read")
		}
		f.Token, f.Email = r.PostForm.Get("token"), r.PostForm.Get("email")
		f.Name, f.Password = r.PostForm.Get("name"), withoutNewline(r.PostForm.Get("password"))
		return true, nil
	case "application/json":
		err := readJSON(r, f)
		f.Password = withoutNewline(f.Password)
		return false, err
	}
	return false, problem.New(http.StatusUnsupportedMediaType, "invalid_argument", "send a form or application/json")
}

// withoutNewline drops the end of a file's last line: curl --data-urlencode password@FILE sends it too.
func withoutNewline(password string) string {
	return strings.TrimSuffix(strings.TrimSuffix(password, "\n"), "\r")
}

// reply answers what was filled in: a person with the page, a program with JSON.
type reply struct {
	w      http.ResponseWriter
	isForm bool
	page   page
}

// failed shows a person the form again, with what is wrong.
func (p reply) failed(f filled, err error) error {
	err = refused(err)
	refusal, public := problem.FromError(err)
	if !p.isForm || !public {
		return err
	}
	p.page.Token, p.page.Email, p.page.Name, p.page.Problem = f.Token, f.Email, f.Name, withoutFix(refusal.Detail)
	return p.page.show(p.w, refusal.Status)
}

func (p reply) done(user identity.User) error {
	if !p.isForm {
		return writeJSON(p.w, http.StatusCreated, user)
	}
	p.page.Intro, p.page.Done = "", "Done. You can sign in as "+user.Email+"."
	return p.page.show(p.w, http.StatusCreated)
}

// withoutFix leaves out what is meant for the operator's terminal.
func withoutFix(text string) string {
	text, _, _ = strings.Cut(text, " (fix: ")
	return text
}

// recordLink writes down what a one-use link led to.
func (s *signin) recordLink(r *http.Request, action string, user identity.User, err error) {
	entry := audit.Entry{Action: action, Outcome: audit.Denied}
	if err == nil {
		entry.Actor = link.Principal{Kind: link.KindUser, ID: user.ID, Name: user.Name}
		entry.Resource, entry.Outcome = "user/"+user.ID, audit.Done
	}
	s.record(r.Context(), r, entry)
}

func (s *signin) setup(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	var f filled
	isForm, err := f.read(r)
	if err != nil {
		return err
	}
	user, err := s.deps.Identity.CompleteSetup(r.Context(), f.Token, identity.NewUser{
		Email: f.Email, Name: f.Name, Password: &f.Password,
	}, s.deps.Administrator)
	s.recordLink(r, "platform.setup", user, err)
	if err == nil {
		err = s.deps.Appointed(r.Context())
	}
	if err != nil {
		return reply{w, isForm, setupPage()}.failed(f, err)
	}
	return reply{w, isForm, setupPage()}.done(user)
}

func (s *signin) password(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	var f filled
	isForm, err := f.read(r)
	if err != nil {
		return err
	}
	user, err := s.deps.Identity.Accept(r.Context(), f.Token, f.Password)
	s.recordLink(r, "user.password", user, err)
	if err != nil {
		return reply{w, isForm, passwordPage()}.failed(f, err)
	}
	return reply{w, isForm, passwordPage()}.done(user)
}

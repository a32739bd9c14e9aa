package signin

import (
	_ "embed"
	"html/template"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/core/internal/jsonbody"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/problem"
)

//go:embed form.html
var formSource string

// form is the one page that the platform has of its own.
var form = template.Must(template.New("form.html").Parse(formSource))

// page is what the form shows.
type page struct {
	Title, Intro  string
	Token         string // empty: there is nothing to fill in
	Account       bool   // ask for email and name too
	Email, Name   string
	Problem, Hint string // what is wrong, and what to do about it
	Done          string
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
	opens, err := s.deps.Identity.CheckLink(r.Context(), token)
	if err == nil && !slices.Contains(purposes, opens.Purpose) {
		err = identity.ErrLinkInvalid
	}
	if err != nil {
		return s.answering(w, true, p).failed(filled{}, err)
	}
	p.Token, p.Email = token, opens.User.Email
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
func (f *filled) read(w http.ResponseWriter, r *http.Request) (isForm bool, err error) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch kind {
	case "application/x-www-form-urlencoded":
		r.Body = http.MaxBytesReader(w, r.Body, jsonbody.Max)
		if err := r.ParseForm(); err != nil {
			return true, jsonbody.Unread(err)
		}
		f.Token, f.Email = r.PostForm.Get("token"), r.PostForm.Get("email")
		f.Name, f.Password = r.PostForm.Get("name"), withoutNewline(r.PostForm.Get("password"))
		return true, nil
	case "application/json":
		return false, jsonbody.Read(w, r, f)
	}
	return false, unsupported("application/json or application/x-www-form-urlencoded")
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
	log    hclog.Logger
}

func (s *signin) answering(w http.ResponseWriter, isForm bool, p page) reply {
	return reply{w: w, isForm: isForm, page: p, log: s.deps.Log}
}

// failed shows a person what is wrong, and the form again if there is another try.
func (p reply) failed(f filled, err error) error {
	err = refused(err)
	if !p.isForm {
		return err
	}
	refusal, public := problem.FromError(err)
	if !public {
		p.log.Error("a form could not be answered", "page", p.page.Title, "error", err)
		refusal.Detail = "something went wrong here (fix: try again; an administrator finds the reason in the log)"
	}
	if refusal.Status != http.StatusForbidden { // a link that opens nothing will not the next time either
		p.page.Token, p.page.Email, p.page.Name = f.Token, f.Email, f.Name
	}
	if p.page.Token == "" {
		p.page.Intro = "" // which says what to fill in
	}
	p.page.Problem, p.page.Hint = sentences(refusal.Detail)
	return p.page.show(p.w, refusal.Status)
}

func (p reply) done(user identity.User) error {
	if !p.isForm {
		return jsonbody.Write(p.w, http.StatusCreated, user)
	}
	p.page.Intro, p.page.Done = "", "Done. You can sign in as "+user.Email+"."
	return p.page.show(p.w, http.StatusCreated)
}

// sentences makes two of an error: what is wrong, and what to do about it.
func sentences(text string) (wrong, hint string) {
	wrong, hint, _ = strings.Cut(text, " (fix: ")
	return sentence(wrong), sentence(strings.TrimSuffix(hint, ")"))
}

func sentence(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 {
		return ""
	}
	return string(unicode.ToUpper(first)) + text[size:] + "."
}

// recordLink writes down what a one-use link led to.
func (s *signin) recordLink(r *http.Request, action string, user identity.User, err error) {
	entry := audit.Entry{Action: action, Outcome: audit.Done}
	if err != nil {
		entry.Outcome = outcome(err)
	} else {
		entry.Actor = link.Principal{Kind: link.KindUser, ID: user.ID, Name: user.Name}
		entry.Resource = "user/" + user.ID
	}
	s.record(r.Context(), r, entry)
}

func (s *signin) setup(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	var f filled
	isForm, err := f.read(w, r)
	answer := s.answering(w, isForm, setupPage())
	if err != nil {
		return answer.failed(f, err)
	}
	user, err := s.deps.Identity.CompleteSetup(r.Context(), f.Token, identity.NewUser{
		Email: f.Email, Name: f.Name, Password: &f.Password,
	}, s.deps.Administrator)
	s.recordLink(r, "platform.setup", user, err)
	if err != nil {
		return answer.failed(f, err)
	}
	if err := s.deps.Appointed(r.Context()); err != nil { // the account is made, and its link used: there is nothing to try again
		s.deps.Log.Warn("what the administrator may do is known in a moment", "user", user.ID, "error", err)
	}
	return answer.done(user)
}

func (s *signin) password(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	var f filled
	isForm, err := f.read(w, r)
	answer := s.answering(w, isForm, passwordPage())
	if err != nil {
		return answer.failed(f, err)
	}
	user, err := s.deps.Identity.Accept(r.Context(), f.Token, f.Password)
	s.recordLink(r, "user.password", user, err)
	if err != nil {
		return answer.failed(f, err)
	}
	return answer.done(user)
}

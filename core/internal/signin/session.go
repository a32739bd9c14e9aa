package signin

import (
	"context"
	"errors"
	"net/http"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/core/internal/jsonbody"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/problem"
)

func (s *signin) jwks(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	keys, err := s.deps.Auth.JWKS(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(keys)
	return nil
}

func (s *signin) login(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	var asked struct {
		Email    string `json:"email"`
		Password string `json:"password"`
	}
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	client := clientOf(r)
	tokens, err := s.deps.Auth.Login(r.Context(), auth.Login{
		Email: asked.Email, Password: asked.Password, Address: client.Address, UserAgent: client.UserAgent,
	})
	return s.signedIn(w, r, attempt{"auth.login", "email/" + asked.Email, tokens, err})
}

// attempt is what came of somebody who wanted in: tokens, or an error.
type attempt struct {
	action, resource string
	tokens           auth.Tokens
	err              error
}

// signedIn answers with the tokens of a new or continued session, or with why there is none.
func (s *signin) signedIn(w http.ResponseWriter, r *http.Request, a attempt) error {
	entry := audit.Entry{Action: a.action, Resource: a.resource}
	if a.err != nil {
		entry.Outcome = outcome(a.err)
		var reuse *auth.ReuseError
		if errors.As(a.err, &reuse) {
			entry.Actor = link.Principal{Kind: link.KindUser, ID: reuse.UserID}
			entry.Details = audit.Details("why", "a refresh token came twice; its session has been ended", "session", reuse.Session)
		}
		s.record(r.Context(), r, entry)
		return refused(a.err)
	}
	entry.Actor = link.Principal{Kind: link.KindUser, ID: a.tokens.User.ID, Name: a.tokens.User.Name}
	entry.Resource, entry.Outcome = "session/"+a.tokens.Session, audit.Done
	s.record(r.Context(), r, entry)
	return jsonbody.Write(w, http.StatusOK, a.tokens)
}

func (s *signin) refresh(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	var asked struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	tokens, err := s.deps.Auth.Refresh(r.Context(), asked.RefreshToken, clientOf(r).Address)
	if err == nil {
		return jsonbody.Write(w, http.StatusOK, tokens) // the session is in the log since its beginning
	}
	return s.signedIn(w, r, attempt{action: "auth.refresh", err: err})
}

// user refuses callers that are nobody's session.
func user(caller auth.Identity) error {
	if caller.Principal.Kind != link.KindUser {
		return problem.New(http.StatusForbidden, "permission_denied",
			"this is for people, and a service token stands for none (fix: sign in)")
	}
	return nil
}

// session refuses API tokens too: a token must not end or change what the person signs in with.
func session(caller auth.Identity) error {
	if err := user(caller); err != nil {
		return err
	}
	if caller.Permissions != nil {
		return problem.New(http.StatusForbidden, "permission_denied", "this needs a session, an API token does not do (fix: sign in)")
	}
	return nil
}

func (s *signin) logout(w http.ResponseWriter, r *http.Request, caller auth.Identity) error {
	if err := session(caller); err != nil {
		return err
	}
	if err := s.deps.Auth.Logout(r.Context(), caller.Session); err != nil {
		return refused(err)
	}
	s.record(r.Context(), r, audit.Entry{
		Actor: caller.Principal, Action: "auth.logout", Resource: "session/" + caller.Session, Outcome: audit.Done,
	})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// self is who the caller is.
type self struct {
	Kind        string   `json:"kind"`
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Email       string   `json:"email,omitempty"`
	Session     string   `json:"session,omitempty"`
	Permissions []string `json:"permissions"`
}

func (s *signin) me(w http.ResponseWriter, r *http.Request, caller auth.Identity) error {
	answer := self{Kind: caller.Principal.Kind, ID: caller.Principal.ID, Name: caller.Principal.Name, Session: caller.Session}
	if caller.Principal.Kind == link.KindUser {
		known, err := s.deps.Identity.Get(r.Context(), caller.Principal.ID)
		if err != nil {
			return refused(err)
		}
		answer.Email, answer.Name = known.Email, known.Name
	}
	permissions, err := s.deps.Permissions(caller)
	if err != nil {
		return err
	}
	answer.Permissions = append([]string{}, permissions...)
	return jsonbody.Write(w, http.StatusOK, answer)
}

// list is how several things are sent.
type list[T any] struct {
	Items []T `json:"items"`
}

func (s *signin) sessions(w http.ResponseWriter, r *http.Request, caller auth.Identity) error {
	if err := session(caller); err != nil {
		return err
	}
	found, err := s.deps.Auth.Sessions(r.Context(), caller.Principal.ID)
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, list[auth.Session]{Items: append([]auth.Session{}, found...)})
}

func (s *signin) endSession(w http.ResponseWriter, r *http.Request, caller auth.Identity) error {
	if err := session(caller); err != nil {
		return err
	}
	id := r.PathValue("id")
	if err := s.deps.Auth.EndSession(r.Context(), caller.Principal.ID, id); err != nil {
		return refused(err)
	}
	s.record(r.Context(), r, audit.Entry{
		Actor: caller.Principal, Action: "session.end", Resource: "session/" + id, Outcome: audit.Done,
	})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *signin) changePassword(w http.ResponseWriter, r *http.Request, caller auth.Identity) error {
	if err := session(caller); err != nil {
		return err
	}
	var asked struct {
		Old string `json:"old_password"`
		New string `json:"new_password"`
	}
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	entry := audit.Entry{Actor: caller.Principal, Action: "user.password", Resource: "user/" + caller.Principal.ID}
	err := s.deps.Auth.Confirm(r.Context(), caller.Principal.ID, clientOf(r).Address, func(ctx context.Context) error {
		err := s.deps.Identity.ChangePassword(ctx, caller.Principal.ID, asked.Old, asked.New)
		if errors.Is(err, identity.ErrBadCredentials) {
			return auth.ErrBadCredentials
		}
		return err
	})
	if err != nil {
		entry.Outcome = outcome(err)
		s.record(r.Context(), r, entry)
	}
	switch {
	case errors.Is(err, auth.ErrBadCredentials): // not 401: the session is good
		return problem.New(http.StatusForbidden, "permission_denied", "the old password is wrong (fix: try again)")
	case err != nil:
		return refused(err)
	}
	entry.Outcome = audit.Done
	s.record(r.Context(), r, entry)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/core/internal/jsonbody"
	"github.com/platformd/platformd/plugin-api/problem"
)

// Page is a part of a list.
type Page[T any] struct {
	Items []T `json:"items"`
	// Next is the parameter after of the next page; empty: this is the last.
	Next string `json:"next,omitempty"`
}

// UserQuery says which users are wanted, as identity.Page does.
type UserQuery struct {
	Query string
	Limit int
	After string
}

// NewUser asks for a user.
type NewUser struct {
	Email    string  `json:"email"`
	Name     string  `json:"name"`
	Password *string `json:"password,omitempty"` // none: nobody can sign in with one
	Admin    bool    `json:"admin,omitempty"`    // assign the role admin, too
}

// User is a user with what makes them somebody.
type User struct {
	identity.User
	Roles  []string `json:"roles"`  // their own, not those of their groups; sorted
	Groups []string `json:"groups"` // sorted
}

// UserChange is what is to change of a user: what is nil stays.
type UserChange struct {
	Email *string `json:"email,omitempty"`
	Name  *string `json:"name,omitempty"`
}

// Link is a one-use link, which whoever has it can use.
type Link struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Invitation is a new user, and the link by which they choose a password.
type Invitation struct {
	User identity.User `json:"user"`
	Link
}

// link makes a link of a page that core/internal/signin serves.
func (a *api) link(page string, l identity.Link) Link {
	return Link{URL: a.deps.URL() + "/api/v1/platform/" + page + "?token=" + l.Secret, ExpiresAt: l.ExpiresAt}
}

// findUser returns the user with an id or an e-mail address.
func (a *api) findUser(ctx context.Context, who string) (u identity.User, err error) {
	if strings.Contains(who, "@") {
		u, err = a.deps.Users.FindByEmail(ctx, who)
	} else {
		u, err = a.deps.Users.Get(ctx, who)
	}
	if errors.Is(err, identity.ErrNotFound) {
		err = problem.New(http.StatusNotFound, "not_found",
			fmt.Sprintf("there is no user %.200q (fix: `platformd user ls` lists them)", who))
	}
	return u, err
}

func (a *api) users(w http.ResponseWriter, r *http.Request) error {
	given, err := parameters(r, "query", "limit", "after")
	if err != nil {
		return err
	}
	limit, err := number(given, "limit")
	if err != nil {
		return err
	}
	found, err := a.deps.Users.List(r.Context(), identity.Page{Query: given["query"], Limit: int(limit), After: given["after"]})
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, Page[identity.User]{Items: found.Users, Next: found.Next})
}

// number reads a parameter that is a number; 0 without it.
func number(given map[string]string, name string) (int64, error) {
	text, there := given[name]
	if !there {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, badRequest(fmt.Errorf("the parameter %q is %.40q (fix: write a number above 0)", name, text))
	}
	return n, nil
}

func (a *api) user(w http.ResponseWriter, r *http.Request) error {
	u, err := a.findUser(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	shown := User{User: u, Roles: []string{}}
	assigned, err := a.deps.Authz.AssignmentsOf(r.Context(), authz.ToUser(u.ID))
	if err != nil {
		return err
	}
	for _, one := range assigned {
		shown.Roles = append(shown.Roles, one.Role)
	}
	shown.Roles = slices.Compact(shown.Roles) // one for each source
	if shown.Groups, err = a.deps.Authz.GroupsOf(r.Context(), u.ID); err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, shown)
}

func (a *api) createUser(w http.ResponseWriter, r *http.Request) error {
	var asked NewUser
	if err := jsonbody.Read(w, r, &asked); err != nil {
		return err
	}
	var made identity.User
	c := change{action: "user.create", resource: "user/", details: []string{"email", asked.Email}}
	err := a.perform(r, &c, func(ctx context.Context) (err error) {
		if asked.Admin {
			if err := a.mayAssign(ctx, authz.Admin); err != nil {
				return err
			}
		}
		made, err = a.deps.Users.Create(ctx, identity.NewUser{Email: asked.Email, Name: asked.Name, Password: asked.Password})
		c.resource += made.ID
		return err
	})
	if err == nil && asked.Admin {
		c := assignment(authz.Admin, authz.ToUser(made.ID))
		err = a.perform(r, &c, func(ctx context.Context) error { return a.deps.Authz.Assign(ctx, authz.Admin, authz.ToUser(made.ID)) })
	}
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusCreated, made)
}

func (a *api) inviteUser(w http.ResponseWriter, r *http.Request) error {
	var asked struct {
		Email string `json:"email"`
		Name  string `json:"name"`
	}
	if err := jsonbody.Read(w, r, &asked); err != nil {
		return err
	}
	var made Invitation
	c := change{action: "user.invite", resource: "user/", details: []string{"email", asked.Email}}
	err := a.perform(r, &c, func(ctx context.Context) error {
		user, secret, err := a.deps.Users.Invite(ctx, asked.Email, asked.Name)
		made = Invitation{User: user, Link: a.link("password", secret)}
		c.resource += user.ID
		return err
	})
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusCreated, made)
}

// onUser changes the user whom the path names; work gets who that is.
func (a *api) onUser(r *http.Request, action string, work func(ctx context.Context, u identity.User, c *change) error) error {
	u, err := a.findUser(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	c := change{action: action, resource: "user/" + u.ID, details: []string{"email", u.Email}}
	return a.perform(r, &c, func(ctx context.Context) error { return work(ctx, u, &c) })
}

// ruling is onUser for what makes whoever asks as mighty as the user, or takes that from the user.
func (a *api) ruling(r *http.Request, action string, work func(ctx context.Context, id string) error) error {
	return a.onUser(r, action, func(ctx context.Context, u identity.User, _ *change) error {
		if err := a.mayRule(ctx, u.ID); err != nil {
			return err
		}
		return work(ctx, u.ID)
	})
}

// updateUser lets whoever may change users change everybody's name, but not where links to everybody's account are sent to.
func (a *api) updateUser(w http.ResponseWriter, r *http.Request) error {
	var asked UserChange
	if err := jsonbody.Read(w, r, &asked); err != nil {
		return err
	}
	var updated identity.User
	err := a.onUser(r, "user.update", func(ctx context.Context, u identity.User, c *change) (err error) {
		if asked.Email != nil {
			c.details = append(c.details, "new_email", *asked.Email)
			if err := a.mayRule(ctx, u.ID); err != nil {
				return err
			}
		}
		if asked.Name != nil {
			c.details = append(c.details, "name", u.Name, "new_name", *asked.Name)
		}
		updated, err = a.deps.Users.Update(ctx, u.ID, identity.Change(asked))
		return err
	})
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, updated)
}

func (a *api) deleteUser(w http.ResponseWriter, r *http.Request) error {
	return noContent(w, a.ruling(r, "user.delete", a.deps.Users.Delete))
}

func (a *api) enableUser(w http.ResponseWriter, r *http.Request) error {
	return noContent(w, a.ruling(r, "user.enable", func(ctx context.Context, id string) error {
		return a.deps.Users.SetDisabled(ctx, id, false)
	}))
}

func (a *api) disableUser(w http.ResponseWriter, r *http.Request) error {
	return noContent(w, a.ruling(r, "user.disable", func(ctx context.Context, id string) error {
		return a.deps.Users.SetDisabled(ctx, id, true)
	}))
}

func (a *api) setPassword(w http.ResponseWriter, r *http.Request) error {
	var asked struct {
		Password string `json:"password"`
	}
	if err := jsonbody.Read(w, r, &asked); err != nil {
		return err
	}
	return noContent(w, a.ruling(r, "user.password", func(ctx context.Context, id string) error {
		return a.deps.Users.SetPassword(ctx, id, asked.Password)
	}))
}

func (a *api) resetPassword(w http.ResponseWriter, r *http.Request) error {
	var made Link
	err := a.ruling(r, "user.reset", func(ctx context.Context, id string) error {
		secret, err := a.deps.Users.ResetLink(ctx, id)
		made = a.link("password", secret)
		return err
	})
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusCreated, made)
}

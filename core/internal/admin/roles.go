package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/jsonbody"
)

// maxShown bounds how many of those who have a role, or are in a group, are listed; the counts say how many there are.
const maxShown = 1000

// NewRole asks for a role, or a group.
type NewRole struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// Role is a role with who has it.
type Role struct {
	authz.Role
	Holders []RoleHolder `json:"holders"` // the first 1,000
}

// RoleHolder is a user or a group that has a role.
type RoleHolder struct {
	Kind   string `json:"kind"` // "user" or "group"
	ID     string `json:"id"`   // a user's id or a group's name
	Email  string `json:"email,omitempty"`
	Name   string `json:"name,omitempty"`
	Source string `json:"source,omitempty"` // who said so; absent: an operator
}

// Subjects are users, by id or e-mail address, and groups.
type Subjects struct {
	Users  []string `json:"users,omitempty"`
	Groups []string `json:"groups,omitempty"`
}

func (a *api) roles(w http.ResponseWriter, r *http.Request) error {
	roles, err := a.deps.Authz.Roles(r.Context())
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, list[authz.Role]{Items: orEmpty(roles)})
}

// findRole returns a role as it is now.
func (a *api) findRole(ctx context.Context, name string) (authz.Role, error) {
	roles, err := a.deps.Authz.Roles(ctx)
	if err != nil {
		return authz.Role{}, err
	}
	names := make([]string, len(roles))
	for i := range roles {
		if names[i] = roles[i].Name; names[i] == name {
			return roles[i], nil
		}
	}
	return authz.Role{}, unknown("role", name, names)
}

func (a *api) role(w http.ResponseWriter, r *http.Request) error {
	role, err := a.findRole(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	assigned, err := a.deps.Authz.AssignmentsTo(r.Context(), role.Name)
	if err != nil {
		return err
	}
	holders, err := a.holders(r.Context(), assigned[:min(len(assigned), maxShown)])
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, Role{Role: role, Holders: holders})
}

func (a *api) holders(ctx context.Context, assigned []authz.Assignment) ([]RoleHolder, error) {
	ids := make([]string, len(assigned))
	for i, one := range assigned {
		ids[i] = one.Subject.ID
	}
	users, err := a.usersByID(ctx, ids)
	holders := make([]RoleHolder, len(assigned))
	for i, one := range assigned {
		known := users[one.Subject.ID] // nobody, for a group
		holders[i] = RoleHolder{Kind: one.Subject.Kind, ID: one.Subject.ID, Email: known.Email, Name: known.Name, Source: one.Source}
	}
	return holders, err
}

func (a *api) createRole(w http.ResponseWriter, r *http.Request) error {
	var asked NewRole
	if err := jsonbody.Read(w, r, &asked); err != nil {
		return err
	}
	c := change{action: "role.create", resource: "role/" + asked.Name, details: []string{"description", asked.Description}}
	err := a.perform(r, &c, func(ctx context.Context) error {
		return a.deps.Authz.CreateRole(ctx, asked.Name, asked.Description)
	})
	if err != nil {
		return err
	}
	return a.answerRole(w, r, http.StatusCreated, asked.Name)
}

func (a *api) answerRole(w http.ResponseWriter, r *http.Request, status int, name string) error {
	role, err := a.findRole(r.Context(), name)
	if err != nil {
		return err
	}
	return jsonbody.Write(w, status, role)
}

func (a *api) deleteRole(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	c := change{action: "role.delete", resource: "role/" + name}
	return noContent(w, a.perform(r, &c, func(ctx context.Context) error { return a.deps.Authz.DeleteRole(ctx, name) }))
}

// What is done to a role.
const (
	grants    = "role.grant"
	revokes   = "role.revoke"
	assigns   = "role.assign"
	unassigns = "role.unassign"
)

// editRole changes what a role allows.
func (a *api) editRole(action string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var asked struct {
			Permissions []string `json:"permissions"`
		}
		if err := jsonbody.Read(w, r, &asked); err != nil {
			return err
		}
		if len(asked.Permissions) == 0 {
			return badRequest(errors.New("there is no permission to " + action + " (fix: name one, such as blog.post.read or blog.*)"))
		}
		role := r.PathValue("name")
		c := change{action: action, resource: "role/" + role, details: []string{"permissions", strings.Join(asked.Permissions, " ")}}
		err := a.perform(r, &c, func(ctx context.Context) error {
			if action == revokes {
				return a.deps.Authz.Revoke(ctx, role, asked.Permissions...)
			}
			if err := a.mayHandOut(ctx, asked.Permissions...); err != nil {
				return err
			}
			return a.deps.Authz.Grant(ctx, role, asked.Permissions...)
		})
		if err != nil {
			return err
		}
		return a.answerRole(w, r, http.StatusOK, role)
	}
}

// assignRole changes who has a role.
func (a *api) assignRole(action string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		subjects, err := a.readSubjects(w, r)
		if err != nil {
			return err
		}
		role := r.PathValue("name")
		c := assignment(role, subjects...)
		c.action = action
		return noContent(w, a.perform(r, &c, func(ctx context.Context) error {
			if action == unassigns {
				return a.deps.Authz.Unassign(ctx, role, subjects...)
			}
			if err := a.mayAssign(ctx, role); err != nil {
				return err
			}
			return a.deps.Authz.Assign(ctx, role, subjects...)
		}))
	}
}

// assignment is what the audit log says of a role that is assigned.
func assignment(role string, to ...authz.Subject) change {
	names := make([]string, len(to))
	for i, subject := range to {
		names[i] = subject.Kind + "/" + subject.ID
	}
	return change{action: assigns, resource: "role/" + role, details: []string{"subjects", strings.Join(names, " ")}}
}

// readSubjects finds the users: authz takes whatever id it is given.
func (a *api) readSubjects(w http.ResponseWriter, r *http.Request) ([]authz.Subject, error) {
	var asked Subjects
	if err := jsonbody.Read(w, r, &asked); err != nil {
		return nil, err
	}
	ids, err := a.userIDs(r.Context(), asked.Users)
	if err != nil {
		return nil, err
	}
	subjects := make([]authz.Subject, 0, len(ids)+len(asked.Groups))
	for _, id := range ids {
		subjects = append(subjects, authz.ToUser(id))
	}
	for _, group := range asked.Groups {
		subjects = append(subjects, authz.ToGroup(group))
	}
	if len(subjects) == 0 {
		return nil, badRequest(errors.New("there is nobody to change that for (fix: name a user or a group)"))
	}
	return subjects, nil
}

func (a *api) userIDs(ctx context.Context, users []string) ([]string, error) {
	ids := make([]string, len(users))
	for i, who := range users {
		u, err := a.findUser(ctx, who)
		if err != nil {
			return nil, err
		}
		ids[i] = u.ID
	}
	return ids, nil
}

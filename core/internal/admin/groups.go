package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/jsonbody"
)

// Group is a group with who is in it.
type Group struct {
	authz.Group
	Users []Member `json:"users"` // the first 1,000
}

// Member is a user in a group. Email and Name are absent where the user has been deleted.
type Member struct {
	ID    string `json:"id"`
	Email string `json:"email,omitempty"`
	Name  string `json:"name,omitempty"`
}

func (a *api) groups(w http.ResponseWriter, r *http.Request) error {
	groups, err := a.deps.Authz.Groups(r.Context())
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, list[authz.Group]{Items: orEmpty(groups)})
}

// findGroup returns a group as it is now.
func (a *api) findGroup(ctx context.Context, name string) (authz.Group, error) {
	groups, err := a.deps.Authz.Groups(ctx)
	if err != nil {
		return authz.Group{}, err
	}
	names := make([]string, len(groups))
	for i := range groups {
		if names[i] = groups[i].Name; names[i] == name {
			return groups[i], nil
		}
	}
	return authz.Group{}, unknown("group", name, names)
}

func (a *api) group(w http.ResponseWriter, r *http.Request) error {
	group, err := a.findGroup(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	ids, err := a.deps.Authz.Members(r.Context(), group.Name)
	if err != nil {
		return err
	}
	ids = ids[:min(len(ids), maxShown)]
	users, err := a.usersByID(r.Context(), ids)
	if err != nil {
		return err
	}
	shown := Group{Group: group, Users: make([]Member, len(ids))}
	for i, id := range ids {
		shown.Users[i] = Member{ID: id, Email: users[id].Email, Name: users[id].Name}
	}
	return jsonbody.Write(w, http.StatusOK, shown)
}

func (a *api) createGroup(w http.ResponseWriter, r *http.Request) error {
	var asked NewRole
	if err := jsonbody.Read(w, r, &asked); err != nil {
		return err
	}
	c := change{action: "group.create", resource: "group/" + asked.Name, details: []string{"description", asked.Description}}
	err := a.perform(r, &c, func(ctx context.Context) error {
		return a.deps.Authz.CreateGroup(ctx, asked.Name, asked.Description)
	})
	if err != nil {
		return err
	}
	group, err := a.findGroup(r.Context(), asked.Name)
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusCreated, group)
}

func (a *api) deleteGroup(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	c := change{action: "group.delete", resource: "group/" + name}
	return noContent(w, a.perform(r, &c, func(ctx context.Context) error { return a.deps.Authz.DeleteGroup(ctx, name) }))
}

// addMembers hands out what the roles of the group allow.
func (a *api) addMembers(w http.ResponseWriter, r *http.Request) error {
	return a.editMembers(w, r, "group.add", func(ctx context.Context, name string, ids []string) error {
		group, err := a.findGroup(ctx, name)
		if err != nil {
			return err
		}
		if err := a.mayAssign(ctx, group.Roles...); err != nil {
			return err
		}
		return a.deps.Authz.AddMembers(ctx, name, ids...)
	})
}

func (a *api) removeMembers(w http.ResponseWriter, r *http.Request) error {
	return a.editMembers(w, r, "group.remove", func(ctx context.Context, name string, ids []string) error {
		return a.deps.Authz.RemoveMembers(ctx, name, ids...)
	})
}

// edit changes a group's members.
type edit = func(ctx context.Context, group string, ids []string) error

func (a *api) editMembers(w http.ResponseWriter, r *http.Request, action string, work edit) error {
	var asked struct {
		Users []string `json:"users"`
	}
	if err := jsonbody.Read(w, r, &asked); err != nil {
		return err
	}
	if len(asked.Users) == 0 {
		return badRequest(errors.New("there is nobody to change that for (fix: name a user)"))
	}
	ids, err := a.userIDs(r.Context(), asked.Users)
	if err != nil {
		return err
	}
	name := r.PathValue("name")
	c := change{action: action, resource: "group/" + name, details: []string{"users", strings.Join(ids, " ")}}
	return noContent(w, a.perform(r, &c, func(ctx context.Context) error { return work(ctx, name, ids) }))
}

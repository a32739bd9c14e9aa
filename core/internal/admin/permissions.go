package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/jsonbody"
	"github.com/platformd/platformd/plugin-api/nearest"
	"github.com/platformd/platformd/plugin-api/problem"
)

// Permissions are all that there are, and what has lost its meaning.
type Permissions struct {
	// Items are sorted by name; their Roles are those that have them now.
	Items   []authz.Permission `json:"items"`
	Orphans authz.Orphans      `json:"orphans"`
}

// Check is what a user may do, and why.
type Check struct {
	authz.Decision
	Email    string `json:"email"`
	Disabled bool   `json:"disabled"` // then nothing is allowed
	Text     string `json:"text"`     // the answer in one line
}

// unknown is the problem with the status 404 of a role or group that is not among names.
func unknown(what, name string, names []string) error {
	err := &authz.NotFoundError{What: what, Name: name, Near: nearest.Names(name, names)}
	return problem.New(http.StatusNotFound, "not_found", err.Error())
}

func (a *api) permissions(w http.ResponseWriter, r *http.Request) error {
	roles, err := a.deps.Authz.Roles(r.Context())
	if err != nil {
		return err
	}
	orphans, err := a.deps.Authz.Orphans(r.Context())
	if err != nil {
		return err
	}
	all := a.deps.Authz.Registry.All()
	for i := range all {
		all[i].Roles = rolesWith(roles, all[i].Name)
	}
	orphans.Patterns, orphans.Roles = orEmpty(orphans.Patterns), orEmpty(orphans.Roles)
	return jsonbody.Write(w, http.StatusOK, Permissions{Items: all, Orphans: orphans})
}

func rolesWith(roles []authz.Role, permission string) (names []string) {
	for i := range roles {
		has := func(p authz.RolePattern) bool { return authz.Match(p.Pattern, permission) }
		if slices.ContainsFunc(roles[i].Patterns, has) {
			names = append(names, roles[i].Name)
		}
	}
	return names
}

func (a *api) check(w http.ResponseWriter, r *http.Request) error {
	given, err := parameters(r, "subject", "permission")
	if err != nil {
		return err
	}
	for _, name := range []string{"subject", "permission"} {
		if given[name] == "" {
			return badRequest(fmt.Errorf("the parameter %q is missing (fix: ask ?subject=EMAIL&permission=NAME)", name))
		}
	}
	if strings.Contains(given["permission"], "*") {
		return badRequest(fmt.Errorf("%.80q is a pattern (fix: ask for one permission; `platformd permission ls` lists them)",
			given["permission"]))
	}
	u, err := a.findUser(r.Context(), given["subject"])
	if err != nil {
		return err
	}
	decision, err := a.deps.Authz.Explain(u.ID, given["permission"])
	if err != nil {
		return err
	}
	answer := Check{Decision: decision, Email: u.Email, Disabled: u.Disabled}
	decision.User = u.Email // for people
	answer.Text = decision.String()
	if u.Disabled && decision.Allowed {
		answer.Allowed = false
		answer.Text = fmt.Sprintf("denied: %s is disabled (fix: `platformd user enable %[1]s`)", u.Email)
	}
	return jsonbody.Write(w, http.StatusOK, answer)
}

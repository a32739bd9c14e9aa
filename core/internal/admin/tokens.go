package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/core/internal/jsonbody"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/problem"
)

// me is how callers name themselves as the owner of a token.
const me = "me"

// Token is an API token without its secret.
type Token struct {
	auth.Token
	OwnerEmail string `json:"owner_email,omitempty"` // absent for a service's token, and where the owner has been deleted
}

// ownedBy returns the id of the user whose tokens a request is about, "" if it names none. Those of one's own need no permission.
func (a *api) ownedBy(ctx context.Context, owner, permission string) (string, error) {
	self := callerOf(ctx).person()
	if self != "" && (owner == me || owner == self || a.isEmailOf(ctx, self, owner)) {
		return self, nil
	}
	if err := a.require(ctx, permission); err != nil || owner == "" {
		return "", err
	}
	if owner != me {
		u, err := a.findUser(ctx, owner)
		return u.ID, err
	}
	caller := callerOf(ctx).Holder.Principal
	if caller.Kind != link.KindUser {
		return "", badRequest(errors.New("you are no user whose tokens these could be (fix: name the user by id or e-mail address)"))
	}
	return caller.ID, nil
}

func (a *api) isEmailOf(ctx context.Context, id, email string) bool {
	if !strings.Contains(email, "@") {
		return false
	}
	u, err := a.deps.Users.FindByEmail(ctx, email)
	return err == nil && u.ID == id
}

func (a *api) tokens(w http.ResponseWriter, r *http.Request) error {
	asked, err := parameter(r, "owner")
	if err != nil {
		return err
	}
	owner, err := a.ownedBy(r.Context(), asked, "platform.token.read")
	if err != nil {
		return err
	}
	tokens, err := a.deps.Auth.List(r.Context(), owner)
	if err != nil {
		return fmt.Errorf("list tokens: %w", err)
	}
	shown, err := a.withOwners(r.Context(), tokens)
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, list[Token]{Items: shown})
}

func (a *api) withOwners(ctx context.Context, tokens []auth.Token) ([]Token, error) {
	var ids []string
	for i := range tokens {
		if tokens[i].Owner != "" {
			ids = append(ids, tokens[i].Owner)
		}
	}
	users, err := a.usersByID(ctx, ids)
	shown := make([]Token, len(tokens))
	for i := range tokens {
		shown[i] = Token{Token: tokens[i], OwnerEmail: users[tokens[i].Owner].Email}
	}
	return shown, err
}

// usersByID leaves out those who are not there.
func (a *api) usersByID(ctx context.Context, ids []string) (map[string]identity.User, error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	found := make(map[string]identity.User)
	for some := range slices.Chunk(slices.Compact(ids), identity.MaxBatch) {
		users, err := a.deps.Users.BatchGet(ctx, some)
		if err != nil {
			return nil, err
		}
		for _, u := range users {
			found[u.ID] = u
		}
	}
	return found, nil
}

func (a *api) createToken(w http.ResponseWriter, r *http.Request) error {
	var asked NewToken
	if err := jsonbody.Read(w, r, &asked); err != nil {
		return err
	}
	ttl, err := ParseTTL(asked.TTL)
	if err != nil {
		return badRequest(err)
	}
	for _, pattern := range asked.Permissions {
		if err := a.deps.Authz.Registry.CheckPattern(pattern); err != nil {
			return badRequest(err)
		}
	}
	wanted := auth.NewToken{Name: asked.Name, Permissions: asked.Permissions, TTL: ttl}
	c := change{action: "token.create", resource: "token/", details: []string{
		"name", asked.Name, "owner", asked.Owner, "permissions", strings.Join(asked.Permissions, " "), "ttl", asked.TTL,
	}}
	var made CreatedToken
	err = a.perform(r, &c, func(ctx context.Context) (err error) {
		if wanted.Owner, err = a.mayIssue(ctx, asked); err != nil {
			return err
		}
		made.Secret, made.Token, err = a.deps.Auth.Create(ctx, wanted)
		c.resource += made.ID
		return err
	})
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusCreated, made)
}

// mayIssue returns the id of the future owner. The secret is told to whoever asks, who is then taken for the owner.
func (a *api) mayIssue(ctx context.Context, asked NewToken) (owner string, err error) {
	if owner, err = a.ownedBy(ctx, asked.Owner, "platform.token.create"); err != nil {
		return "", err
	}
	if owner != "" && owner != callerOf(ctx).person() {
		if err := a.mayRule(ctx, owner); err != nil {
			return "", err
		}
	}
	return owner, a.mayHandOut(ctx, asked.Permissions...)
}

func (a *api) revokeToken(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	c := change{action: "token.revoke", resource: "token/" + id}
	err := a.perform(r, &c, func(ctx context.Context) error {
		if err := a.mayRevoke(ctx, id); err != nil {
			return err
		}
		err := a.deps.Auth.Revoke(ctx, id)
		if errors.Is(err, auth.ErrNotFound) {
			return problem.New(http.StatusNotFound, "not_found", fmt.Sprintf("there is no token %.80q\nfix: platformd token ls", id))
		}
		return err
	})
	return noContent(w, err)
}

func (a *api) mayRevoke(ctx context.Context, id string) error {
	if self := callerOf(ctx).person(); self != "" {
		own, err := a.deps.Auth.List(ctx, self)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(own, func(t auth.Token) bool { return t.ID == id }) {
			return nil
		}
	}
	return a.require(ctx, "platform.token.revoke")
}

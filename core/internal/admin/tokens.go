package admin

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/plugin-api/problem"
)

func (a *api) tokens(w http.ResponseWriter, r *http.Request) error {
	tokens, err := a.deps.Tokens.List(r.Context(), "")
	if err != nil {
		return fmt.Errorf("list tokens: %w", err)
	}
	return writeJSON(w, http.StatusOK, list[auth.Token]{Items: orEmpty(tokens)})
}

func (a *api) createToken(w http.ResponseWriter, r *http.Request) error {
	var asked NewToken
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	ttl, err := ParseTTL(asked.TTL)
	if err != nil {
		return badRequest(err)
	}
	for _, pattern := range asked.Permissions {
		if err := a.deps.Permissions.CheckPattern(pattern); err != nil {
			return badRequest(err)
		}
	}
	secret, token, err := a.deps.Tokens.Create(r.Context(), auth.NewToken{
		Name: asked.Name, Permissions: asked.Permissions, TTL: ttl,
	})
	if err != nil {
		return fmt.Errorf("create a token: %w", err)
	}
	return writeJSON(w, http.StatusCreated, CreatedToken{Token: token, Secret: secret})
}

func (a *api) revokeToken(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	err := a.deps.Tokens.Revoke(r.Context(), id)
	if errors.Is(err, auth.ErrNotFound) {
		return problem.New(http.StatusNotFound, "not_found", fmt.Sprintf("there is no token %q\nfix: platformd token ls", id))
	}
	if err != nil {
		return fmt.Errorf("revoke the token: %w", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

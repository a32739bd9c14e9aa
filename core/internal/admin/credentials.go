package admin

import (
	"context"
	"net/http"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/core/internal/jsonbody"
)

// whyEnded is what a session says that an administrator has ended.
const whyEnded = "ended by an administrator"

func (a *api) userSessions(w http.ResponseWriter, r *http.Request) error {
	u, err := a.findUser(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	found, err := a.deps.Auth.Sessions(r.Context(), u.ID)
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, list[auth.Session]{Items: orEmpty(found)})
}

func (a *api) endSession(w http.ResponseWriter, r *http.Request) error {
	session := r.PathValue("session")
	return noContent(w, a.onUser(r, "session.end", func(ctx context.Context, u identity.User, c *change) error {
		c.details = append(c.details, "session", session)
		return a.deps.Auth.EndSession(ctx, u.ID, session)
	}))
}

func (a *api) endSessions(w http.ResponseWriter, r *http.Request) error {
	return noContent(w, a.onUser(r, "session.end", func(ctx context.Context, u identity.User, c *change) error {
		c.details = append(c.details, "session", "all")
		return a.deps.Auth.EndUser(ctx, u.ID, whyEnded)
	}))
}

func (a *api) rotateKeys(w http.ResponseWriter, r *http.Request) error {
	return noContent(w, a.perform(r, &change{action: "key.rotate", resource: "key"}, a.deps.Auth.Rotate))
}

// setupLink is not for the network: whoever uses the link may do everything, and nobody who may that is there yet.
func (a *api) setupLink(w http.ResponseWriter, r *http.Request) error {
	var made Link
	err := a.perform(r, &change{action: "setup.link", resource: "setup"}, func(ctx context.Context) error {
		secret, err := a.deps.Users.SetupLink(ctx)
		made = a.link("setup", secret)
		return err
	})
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusCreated, made)
}

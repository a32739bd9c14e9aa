package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/cache"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/gateway"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/plugin-api/link"
)

// The variables that name the first administrator, for platforms that nobody sits in front of.
const (
	envAdminEmail    = "PLATFORMD_ADMIN_EMAIL"
	envAdminPassword = "PLATFORMD_ADMIN_PASSWORD_FILE"
)

// openPeople makes what knows people, what they may do, and what they did. The rooms do not know each other: here one is handed
// what it needs of another.
func (d *daemon) openPeople(ctx context.Context) error {
	core := d.storage.Core()
	var err error
	d.audit, err = audit.New(ctx, core, audit.Options{Retention: d.config.Audit.Retention, Log: d.log.Named("audit")})
	if err != nil {
		return err
	}
	d.background(ctx, d.audit.Run)
	d.authz, err = authz.New(ctx, core, authz.Options{
		Registry: d.permissions, Log: d.log.Named("authz"), Active: identity.Active,
	})
	if err != nil {
		return err
	}
	d.background(ctx, d.authz.Run)
	d.identity, err = identity.New(ctx, core, identity.Options{
		Leaving: d.leaving, Ended: d.ended, Log: d.log.Named("identity"),
	})
	if err != nil {
		return err
	}
	d.auth, err = auth.New(ctx, core, auth.Options{
		Users: d.users(), AccessTTL: d.config.Auth.AccessTTL, RefreshTTL: d.config.Auth.RefreshTTL,
		OIDC: issuers(d.config.Auth.OIDC), Roles: d.authz.SyncExternal, Log: d.log.Named("auth"),
	})
	if err != nil {
		return err
	}
	d.background(ctx, d.auth.Run)
	return d.firstAdministrator(ctx)
}

// openCache makes what modules keep for a while.
func (d *daemon) openCache(context.Context) error {
	installation, err := d.storage.Installation()
	if err != nil {
		return err
	}
	d.cache, err = cache.New(cache.Options{URL: d.config.Cache.URL, Installation: installation, Log: d.log.Named("cache")})
	if err != nil {
		return err
	}
	d.closing(d.cache.Close)
	return nil
}

// background runs something from now until the daemon closes what was opened before it.
func (d *daemon) background(ctx context.Context, run func(context.Context) error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	d.closing(func() error {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
}

// users is what auth asks of identity.
func (d *daemon) users() auth.Users {
	return auth.Users{
		Verify: func(ctx context.Context, email, password string) (auth.User, error) {
			user, err := d.identity.Verify(ctx, email, password)
			if errors.Is(err, identity.ErrBadCredentials) {
				err = auth.ErrBadCredentials
			}
			return signer(user), err
		},
		Get: func(ctx context.Context, id string) (auth.User, error) {
			user, err := d.identity.Get(ctx, id)
			return signer(user), noUser(err)
		},
		External: func(ctx context.Context, who auth.External) (auth.User, error) {
			user, err := d.identity.External(ctx, identity.External{
				Issuer: who.URL, Subject: who.Subject, Email: who.Email, EmailVerified: who.EmailVerified, Name: who.Name,
				Create: who.AllowSignUp,
			})
			return signer(user), noUser(err)
		},
		Normal: func(email string) string {
			if normal, err := identity.NormalizeEmail(email); err == nil {
				return normal
			}
			return strings.ToLower(strings.TrimSpace(email))
		},
	}
}

// signer is a user as auth knows one.
func signer(u identity.User) auth.User {
	user := auth.User{ID: u.ID, Name: u.Name, Email: u.Email, Disabled: u.Disabled}
	if u.PasswordChangedAt != nil {
		user.Stamp = u.PasswordChangedAt.UTC().Format(time.RFC3339Nano)
	}
	return user
}

// noUser turns the ways in which identity says that it has no user for auth into auth's.
func noUser(err error) error {
	for _, none := range []error{
		identity.ErrNotFound, identity.ErrBadCredentials, identity.ErrNotLinked, identity.ErrEmailUnverified, identity.ErrSetupFirst,
	} {
		if errors.Is(err, none) {
			return fmt.Errorf("%w: %w", auth.ErrNoUser, err)
		}
	}
	return err
}

// leaving keeps the last administrator, forgets what a deleted user had, and has modules told.
func (d *daemon) leaving(ctx context.Context, tx *gorm.DB, userID, why string) error {
	if err := d.authz.EnsureNotLastAdminTx(tx, userID); err != nil {
		return err
	}
	if why != identity.EndedDeleted {
		return nil
	}
	if err := d.authz.ForgetTx(tx, userID); err != nil {
		return err
	}
	e := bus.Event{Type: eventUserDeleted, Subject: "users/" + userID, Key: userID}
	return putOut(ctx, tx, e, map[string]string{"id": userID})
}

// ended ends what a user is signed in with.
func (d *daemon) ended(ctx context.Context, userID, why string) {
	if why == identity.EndedDeleted {
		d.bridge.Wake(platformName)
	}
	if err := d.auth.EndUser(ctx, userID, why); err != nil {
		d.log.Error("the sessions of a user could not be ended; they end within a minute", "user", userID, "why", why, "error", err)
	}
	if err := d.authz.Refresh(ctx); err != nil {
		d.log.Warn("what a user may do is known anew in a moment", "user", userID, "error", err)
	}
}

func issuers(configured []config.OIDC) []auth.Issuer {
	all := make([]auth.Issuer, len(configured))
	for i, c := range configured {
		all[i] = auth.Issuer{
			Name: c.Name, URL: c.URL, ClientID: c.ClientID, ClientSecret: c.ClientSecret.Reveal(), Audience: c.Audience,
			Scopes: c.Scopes, RoleClaim: c.RoleClaim, Roles: c.Roles, AllowSignUp: c.AllowSignUp,
		}
	}
	return all
}

// administrator gives the first user the role that may do everything.
func (d *daemon) administrator(_ context.Context, tx *gorm.DB, first identity.User) error {
	return d.authz.AssignTx(tx, authz.Admin, authz.ToUser(first.ID))
}

// firstAdministrator makes the one whom the environment names, if the platform has no user yet.
func (d *daemon) firstAdministrator(ctx context.Context) error {
	email, file := os.Getenv(envAdminEmail), os.Getenv(envAdminPassword)
	switch {
	case email == "" && file == "":
		return nil
	case email == "" || file == "":
		return fmt.Errorf("%s and %s belong together (fix: set both, or neither)", envAdminEmail, envAdminPassword)
	}
	password, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read %s: %w (fix: name a file with the password of the first administrator)", envAdminPassword, err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(password), "\n"), "\r")
	made, err := d.identity.Bootstrap(ctx, email, text, d.administrator)
	if err != nil {
		return fmt.Errorf("make the first administrator, %s: %w", email, err)
	}
	if !made {
		return nil
	}
	d.log.Info("made the first administrator", "email", email)
	return errors.Join(d.authz.Refresh(ctx), d.audit.Write(ctx, audit.Entry{
		Actor: link.Principal{Kind: "operator", ID: "environment", Name: "environment"}, Action: "platform.setup",
		Resource: "user/" + email, Outcome: audit.Done,
	}))
}

// setupURL is where the first administrator is made; empty if there is one.
func (d *daemon) setupURL(ctx context.Context) (string, error) {
	needed, err := d.identity.NeedsSetup(ctx)
	if err != nil || !needed {
		return "", err
	}
	made, err := d.identity.SetupLink(ctx)
	if err != nil {
		return "", err
	}
	return d.url() + gateway.PlatformPrefix + "/setup?token=" + made.Secret, nil
}

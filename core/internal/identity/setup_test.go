package identity

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
)

func TestSetup(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		needed, err := d.NeedsSetup(t.Context())
		require.NoError(t, err)
		require.True(t, needed)
		first, err := d.SetupLink(t.Context())
		require.NoError(t, err)
		require.Equal(t, start.Add(day/24), first.ExpiresAt)
		second, err := more().SetupLink(t.Context())
		require.NoError(t, err)
		admin := NewUser{Email: "ada@example.com", Name: "Ada", Password: new(good)}
		_, err = d.CompleteSetup(t.Context(), first.Secret, admin, nil)
		require.ErrorIs(t, err, ErrLinkInvalid, "the second took its place")

		for _, bad := range []NewUser{{}, {Email: "ada@example.com"}, {Email: "ada@example.com", Password: new("short")}} {
			_, err = d.CompleteSetup(t.Context(), second.Secret, bad, nil)
			requireBad(t, err, "")
		}
		var told User
		made, err := d.CompleteSetup(t.Context(), second.Secret, admin, func(_ context.Context, tx *gorm.DB, u User) error {
			told = u
			r, err := take(tx, "id = ?", u.ID)
			require.NoError(t, err)
			require.Equal(t, u, r.user(), "the user is there, within the transaction")
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, told, made)
		require.Equal(t, "ada@example.com Ada", made.Email+" "+made.Name)
		_, err = d.Verify(t.Context(), "ada@example.com", good)
		require.NoError(t, err)

		needed, err = d.NeedsSetup(t.Context())
		require.NoError(t, err)
		require.False(t, needed)
		_, err = d.SetupLink(t.Context())
		require.ErrorIs(t, err, ErrSetupDone)
		_, err = d.CompleteSetup(t.Context(), second.Secret, admin, nil)
		require.ErrorIs(t, err, ErrLinkUsed)
	})
}

// A link that is still open does not make a second first user.
func TestSetupIsOverOnceThereIsAUser(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		made, err := d.SetupLink(t.Context())
		require.NoError(t, err)
		d.user(t, "eve@example.com", good)
		_, err = d.CompleteSetup(t.Context(), made.Secret, NewUser{Email: "ada@example.com", Password: new(good)}, refuse(t))
		require.ErrorIs(t, err, ErrSetupDone)
	})
}

// refuse must not be called.
func refuse(t *testing.T) Then {
	return func(context.Context, *gorm.DB, User) error {
		t.Error("then was called")
		return errors.New("refused")
	}
}

// What cannot be completed has not begun.
func TestSetupIsAllOrNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		made, err := d.SetupLink(t.Context())
		require.NoError(t, err)
		admin := NewUser{Email: "ada@example.com", Password: new(good)}
		failure := errors.New("no such role")
		fail := func(context.Context, *gorm.DB, User) error { return failure }
		_, err = d.CompleteSetup(t.Context(), made.Secret, admin, fail)
		require.ErrorIs(t, err, failure)
		created, err := d.Bootstrap(t.Context(), "ada@example.com", good, fail)
		require.ErrorIs(t, err, failure)
		require.False(t, created)
		require.False(t, d.exists(t, usersTable))
		_, err = d.CompleteSetup(t.Context(), made.Secret, admin, nil)
		require.NoError(t, err, "the link still counts")
	})
}

// Eight callers on two daemons: one makes the first user, and what completes it runs once.
func TestTheRaceToBeFirst(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		daemons := []*daemon{more(), more()}
		made, err := daemons[0].SetupLink(t.Context())
		require.NoError(t, err)
		var completed atomic.Int64
		errs := race(8, func(i int) error {
			n := NewUser{Email: fmt.Sprintf("admin%d@example.com", i), Password: new(good)}
			_, err := daemons[i%2].CompleteSetup(t.Context(), made.Secret, n, func(context.Context, *gorm.DB, User) error {
				completed.Add(1)
				return nil
			})
			return err
		})
		requireOneWinner(t, errs, ErrLinkUsed, ErrSetupDone)
		require.EqualValues(t, 1, completed.Load())
		listing, err := daemons[1].List(t.Context(), Page{})
		require.NoError(t, err)
		require.Len(t, listing.Users, 1)
	})
}

// Setup, Bootstrap and others who make users, all at once: whoever is an administrator was the first.
func TestTheRaceOfAllWays(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		daemons := []*daemon{more(), more()}
		made, err := daemons[0].SetupLink(t.Context())
		require.NoError(t, err)
		var completed atomic.Int64
		alone := func(_ context.Context, tx *gorm.DB, _ User) error {
			completed.Add(1)
			var n int64
			if err := tx.Model(&row{}).Count(&n).Error; err != nil || n != 1 {
				return fmt.Errorf("%d users: %w", n, err)
			}
			return nil
		}
		errs := race(12, func(i int) error {
			d, email := daemons[i%2], fmt.Sprintf("user%d@example.com", i)
			switch i % 4 {
			case 0:
				_, err := d.Create(t.Context(), NewUser{Email: email})
				return err
			case 1:
				_, err := d.Bootstrap(t.Context(), email, good, alone)
				return err
			case 2:
				_, _ = d.SetupLink(t.Context())
				return nil
			}
			_, err := d.CompleteSetup(t.Context(), made.Secret, NewUser{Email: email, Password: new(good)}, alone)
			if isA(err, ErrLinkInvalid) || isA(err, ErrLinkUsed) || isA(err, ErrSetupDone) {
				return nil
			}
			return err
		})
		for _, err := range errs {
			require.NoError(t, err)
		}
		require.LessOrEqual(t, completed.Load(), int64(1))
	})
}

func TestBootstrap(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		daemons := make([]*daemon, 8)
		for i := range daemons {
			daemons[i] = more()
		}
		link, err := daemons[0].SetupLink(t.Context())
		require.NoError(t, err)
		_, err = daemons[0].Bootstrap(t.Context(), "ada@example.com", "short", refuse(t))
		requireBad(t, err, "at least 10 characters")

		var made, completed atomic.Int64
		errs := race(8, func(i int) error {
			created, err := daemons[i].Bootstrap(t.Context(), "Ada@example.com", good, func(context.Context, *gorm.DB, User) error {
				completed.Add(1)
				return nil
			})
			if created {
				made.Add(1)
			}
			return err
		})
		for _, err := range errs {
			require.NoError(t, err)
		}
		require.EqualValues(t, 1, made.Load())
		require.EqualValues(t, 1, completed.Load())
		_, err = daemons[7].CheckLink(t.Context(), link.Secret)
		require.ErrorIs(t, err, ErrLinkInvalid, "nobody else becomes the first")

		hashed := daemons[0].hashed.Load()
		again, err := daemons[0].Bootstrap(t.Context(), "what the operator forgot to remove", "short", refuse(t))
		require.NoError(t, err)
		require.False(t, again)
		require.Equal(t, hashed, daemons[0].hashed.Load(), "a start with users costs one query")
		_, err = daemons[3].Verify(t.Context(), "ada@example.com", good)
		require.NoError(t, err)
	})
}

package identity

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestInvite(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		u, made, err := d.Invite(t.Context(), "Ada@example.com", "Ada")
		require.NoError(t, err)
		require.Equal(t, "ada@example.com Ada", u.Email+" "+u.Name)
		require.False(t, u.HasPassword)
		require.Regexp(t, `^[A-Za-z0-9_-]{43}$`, made.Secret)
		require.Equal(t, start.Add(7*day), made.ExpiresAt)
		opens, err := d.CheckLink(t.Context(), made.Secret)
		require.NoError(t, err)
		require.Equal(t, OpenLink{Purpose: PurposeInvite, User: u}, opens)

		for _, password := range []string{"short", "ada@example.com"} {
			_, err = d.Accept(t.Context(), made.Secret, password)
			requireBad(t, err, "") // and may try again
		}
		d.clock.move(7*day - time.Microsecond)
		accepted, err := more().Accept(t.Context(), made.Secret, good)
		require.NoError(t, err)
		require.Equal(t, u.ID, accepted.ID)
		require.True(t, accepted.HasPassword)
		_, err = d.Verify(t.Context(), u.Email, good)
		require.NoError(t, err)

		_, err = d.Accept(t.Context(), made.Secret, better)
		require.ErrorIs(t, err, ErrLinkUsed)
		_, err = d.CheckLink(t.Context(), made.Secret)
		require.ErrorIs(t, err, ErrLinkUsed)
	})
}

func TestResetLink(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		u := d.user(t, "ada@example.com", good)
		other := d.user(t, "eve@example.com", good)
		first, err := d.ResetLink(t.Context(), u.ID)
		require.NoError(t, err)
		require.Equal(t, start.Add(time.Hour), first.ExpiresAt)
		second, err := d.ResetLink(t.Context(), u.ID)
		require.NoError(t, err)
		_, err = d.ResetLink(t.Context(), other.ID)
		require.NoError(t, err)
		_, err = d.Accept(t.Context(), first.Secret, better)
		require.ErrorIs(t, err, ErrLinkInvalid, "the second took its place")
		_, err = d.Verify(t.Context(), u.Email, good)
		require.NoError(t, err, "asking for a link changes no password")
		_, err = d.Accept(t.Context(), second.Secret, better)
		require.NoError(t, err)
		require.Equal(t, []string{"password_changed " + u.ID}, d.told())
		_, err = d.Verify(t.Context(), u.Email, better)
		require.NoError(t, err)
	})
}

func TestLinksExpire(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		setup, err := d.SetupLink(t.Context())
		require.NoError(t, err)
		u, invite, err := d.Invite(t.Context(), "ada@example.com", "")
		require.NoError(t, err)
		d.clock.move(7*day - time.Hour)
		reset, err := d.ResetLink(t.Context(), d.user(t, "eve@example.com", "").ID)
		require.NoError(t, err)
		for _, made := range []Link{setup, invite, reset} {
			d.clock.at.Store(&made.ExpiresAt)
			_, err = d.CheckLink(t.Context(), made.Secret)
			require.ErrorIs(t, err, ErrLinkExpired)
		}
		_, err = d.Accept(t.Context(), invite.Secret, good)
		require.ErrorIs(t, err, ErrLinkExpired)
		_, err = d.CompleteSetup(t.Context(), setup.Secret, NewUser{Email: "a@b.c", Password: new(good)}, nil)
		require.ErrorIs(t, err, ErrLinkExpired)
		require.Zero(t, d.hashed.Load(), "a link that does not count makes nobody work")

		d.clock.move(remembrance + time.Second)
		_, err = d.CheckLink(t.Context(), reset.Secret)
		require.ErrorIs(t, err, ErrLinkExpired)
		_, err = d.ResetLink(t.Context(), u.ID)
		require.NoError(t, err)
		_, err = d.CheckLink(t.Context(), reset.Secret)
		require.ErrorIs(t, err, ErrLinkInvalid, "forgotten")
	})
}

// A link is for one purpose, and has one spelling.
func TestLinksThatWereNotMade(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		setup, err := d.SetupLink(t.Context())
		require.NoError(t, err)
		_, invite, err := d.Invite(t.Context(), "ada@example.com", "")
		require.NoError(t, err)
		_, err = d.Accept(t.Context(), setup.Secret, good)
		require.ErrorIs(t, err, ErrLinkInvalid, "Accept is not for setup links")
		_, err = d.CompleteSetup(t.Context(), invite.Secret, NewUser{Email: "a@b.c", Password: new(good)}, nil)
		require.ErrorIs(t, err, ErrLinkInvalid, "CompleteSetup is not for invitations")
		secret := invite.Secret
		sum := sha256.Sum256([]byte(secret))
		for _, bad := range []string{
			"", secret[1:], secret + "A", secret + "=", " " + secret, secret + "\n", secret[:20] + "\n" + secret[20:], "\x00",
			strings.Repeat("A", 43), strings.Repeat("+", 43), strings.ToUpper(secret), string(sum[:]), strings.Repeat(secret, 1000),
		} {
			_, err = d.CheckLink(t.Context(), bad)
			require.ErrorIs(t, err, ErrLinkInvalid, bad)
			_, err = d.Accept(t.Context(), bad, good)
			require.ErrorIs(t, err, ErrLinkInvalid, bad)
		}
		_, err = d.CheckLink(t.Context(), secret)
		require.NoError(t, err)
		var stored []onetime
		require.NoError(t, d.db.Find(&stored).Error)
		require.Len(t, stored, 2)
		require.Equal(t, sum[:], stored[1].Hash, "the hash alone is stored")
	})
}

// Links that were sent to an address are void once it is no longer the user's; so are those of who is deleted.
func TestLinksFollowTheirUser(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		u, made, err := d.Invite(t.Context(), "ada@example.com", "")
		require.NoError(t, err)
		_, err = d.Update(t.Context(), u.ID, Change{Name: new("Ada"), Email: new("ADA@example.com")})
		require.NoError(t, err)
		_, err = d.CheckLink(t.Context(), made.Secret)
		require.NoError(t, err, "it is the same address")
		_, err = d.Update(t.Context(), u.ID, Change{Email: new("ada@example.org")})
		require.NoError(t, err)
		_, err = d.CheckLink(t.Context(), made.Secret)
		require.ErrorIs(t, err, ErrLinkInvalid)

		made, err = d.ResetLink(t.Context(), u.ID)
		require.NoError(t, err)
		require.NoError(t, d.Delete(t.Context(), u.ID))
		_, err = d.Accept(t.Context(), made.Secret, good)
		require.ErrorIs(t, err, ErrLinkInvalid)
		require.False(t, d.exists(t, onetimeTable))
	})
}

func TestTheRaceForALink(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		daemons := []*daemon{more(), more()}
		u, made, err := daemons[0].Invite(t.Context(), "ada@example.com", "")
		require.NoError(t, err)
		errs := race(8, func(i int) error {
			_, err := daemons[i%2].Accept(t.Context(), made.Secret, good+strings.Repeat("x", i))
			return err
		})
		requireOneWinner(t, errs, ErrLinkUsed)
		for i, err := range errs {
			_, verifyErr := daemons[1].Verify(t.Context(), u.Email, good+strings.Repeat("x", i))
			require.Equal(t, err == nil, verifyErr == nil, "the winner's password opens, and no other")
		}
	})
}

// Whatever happens to users at the same moment, nothing waits for ever, and nobody gets in who was kept out in the end.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		daemons := []*daemon{more(), more()}
		u := daemons[0].user(t, "ada@example.com", good)
		for range 5 {
			made, err := daemons[0].ResetLink(t.Context(), u.ID)
			require.NoError(t, err)
			var accepted error
			errs := race(8, func(i int) error {
				d := daemons[i%2]
				switch i {
				case 0:
					_, accepted = d.Accept(t.Context(), made.Secret, better)
					return nil
				case 1:
					return d.SetDisabled(t.Context(), u.ID, true)
				case 2, 3:
					_, _ = d.ResetLink(t.Context(), u.ID)
					return nil
				case 4:
					_, err := d.Update(t.Context(), u.ID, Change{Name: new("Ada")})
					return err
				}
				return d.SetPassword(t.Context(), u.ID, good)
			})
			for _, err := range errs {
				require.NoError(t, err)
			}
			if accepted != nil {
				require.ErrorIs(t, accepted, ErrLinkInvalid)
			}
			_, err = daemons[1].Verify(t.Context(), u.Email, good)
			require.Equal(t, ErrBadCredentials, err)
			require.NoError(t, daemons[1].SetDisabled(t.Context(), u.ID, false))
		}
	})
}

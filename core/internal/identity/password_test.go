package identity

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/storage"
)

// Who may not sign in learns nothing of why: the error is the same, and so is the work.
func TestVerifyIsUniform(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		d.user(t, "ada@example.com", good)
		d.user(t, "invited@example.com", "")
		disabled := d.user(t, "disabled@example.com", good)
		require.NoError(t, d.SetDisabled(t.Context(), disabled.ID, true))
		for name, try := range map[string][2]string{
			"unknown":                 {"nobody@example.com", good},
			"wrong password":          {"ada@example.com", better},
			"short password":          {"ada@example.com", "x"},
			"empty password":          {"ada@example.com", ""},
			"no password":             {"invited@example.com", good},
			"no password, and empty":  {"invited@example.com", ""},
			"disabled":                {"disabled@example.com", good},
			"disabled, and wrong":     {"disabled@example.com", better},
			"no address":              {"", good},
			"what is no address":      {"' OR 1=1 --", good},
			"what PostgreSQL refuses": {"a\x00@example.com", good},
			"long, but as allowed":    {"ada@example.com", strings.Repeat("x", 1024)},
		} {
			before := d.hashed.Load()
			u, err := d.Verify(t.Context(), try[0], try[1])
			require.Equal(t, ErrBadCredentials, err, name) // the very error: nothing is wrapped around it
			require.Zero(t, u, name)
			require.EqualValues(t, 1, d.hashed.Load()-before, name)
		}
		before := d.hashed.Load()
		_, err := d.Verify(t.Context(), "ada@example.com", good)
		require.NoError(t, err)
		require.EqualValues(t, 1, d.hashed.Load()-before, "success costs as much")
	})
}

// The work for nobody is the work for somebody: the same parameters, and sizes.
func TestTheDummyIsAsExpensive(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, storageAt(t))
	type work struct {
		params
		salt, key int
	}
	var done []work
	d.hasher.derive = func(password string, p params, salt []byte, size int) []byte {
		done = append(done, work{p, len(salt), size})
		return derive(password, p, salt, size)
	}
	d.user(t, "ada@example.com", good)
	for _, email := range []string{"ada@example.com", "nobody@example.com"} {
		_, err := d.Verify(t.Context(), email, better)
		require.Equal(t, ErrBadCredentials, err)
	}
	require.Len(t, done, 3)
	require.Equal(t, work{cheap(), 16, 32}, done[0])
	require.Equal(t, done[0], done[1])
	require.Equal(t, done[0], done[2])
}

func TestWhatNoPasswordCanBeIsNotHashed(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, storageAt(t))
	d.user(t, "ada@example.com", good)
	before := d.hashed.Load()
	for _, password := range []string{strings.Repeat("x", 1025), strings.Repeat("x", 1<<20), good + "\xff"} {
		for _, email := range []string{"ada@example.com", "nobody@example.com"} {
			_, err := d.Verify(t.Context(), email, password)
			require.Equal(t, ErrBadCredentials, err)
		}
	}
	require.Equal(t, before, d.hashed.Load())
}

// Not to know is another thing than to know that it is wrong.
func TestVerifyWithoutADatabase(t *testing.T) {
	t.Parallel()
	store, err := storage.Open(t.Context(), storageAt(t))
	require.NoError(t, err)
	s, err := New(t.Context(), store.Core(), Options{})
	require.NoError(t, err)
	require.NoError(t, store.Close())
	_, err = s.Verify(t.Context(), "ada@example.com", good)
	require.ErrorContains(t, err, "look up the user")
	require.NotErrorIs(t, err, ErrBadCredentials)

	d := newDaemon(t, storageAt(t))
	u := d.user(t, "ada@example.com", good)
	require.NoError(t, d.db.Model(&row{}).Where("id = ?", u.ID).Update("password_hash", "$damaged").Error)
	_, err = d.Verify(t.Context(), u.Email, good)
	require.ErrorIs(t, err, errPHC)
	ctx, leave := context.WithCancel(t.Context())
	leave()
	_, err = d.Verify(ctx, u.Email, good)
	require.ErrorIs(t, err, context.Canceled)
}

func TestPasswordsAreHashedAnewWhenParametersChange(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		u := d.user(t, "ada@example.com", good)
		stored := func() string {
			r, err := take(d.db.WithContext(t.Context()), "id = ?", u.ID)
			require.NoError(t, err)
			require.Equal(t, start, r.UpdatedAt)
			return r.PasswordHash
		}
		old := stored()
		d.hasher.params = params{Memory: 16, Time: 2, Threads: 1}
		d.clock.move(time.Hour)
		_, err := d.Verify(t.Context(), u.Email, better)
		require.Equal(t, ErrBadCredentials, err)
		require.Equal(t, old, stored(), "a wrong password changes nothing")
		require.NoError(t, d.SetDisabled(t.Context(), u.ID, true))
		require.NoError(t, d.db.Model(&row{}).Where("id = ?", u.ID).Update("updated_at", start).Error)
		_, err = d.Verify(t.Context(), u.Email, good)
		require.Equal(t, ErrBadCredentials, err)
		require.Equal(t, old, stored(), "nor does a disabled user")
		require.NoError(t, d.SetDisabled(t.Context(), u.ID, false))
		require.NoError(t, d.db.Model(&row{}).Where("id = ?", u.ID).Update("updated_at", start).Error)
		d.told()

		before := d.hashed.Load()
		for range 3 {
			_, err = d.Verify(t.Context(), u.Email, good)
			require.NoError(t, err)
		}
		require.EqualValues(t, 4, d.hashed.Load()-before, "once for each, and once anew")
		require.True(t, strings.HasPrefix(stored(), "$argon2id$v=19$m=16,t=2,p=1$"), stored())
		require.Empty(t, d.told(), "it is the same password: no session ends")
	})
}

// A sign-in with the old password must not undo a change that comes at the same moment.
func TestHashingAnewUndoesNoChange(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		u := d.user(t, "ada@example.com", good)
		r, err := take(d.db.WithContext(t.Context()), "id = ?", u.ID)
		require.NoError(t, err)
		require.NoError(t, d.SetPassword(t.Context(), u.ID, better))
		d.rehash(t.Context(), r, good)
		_, err = d.Verify(t.Context(), u.Email, better)
		require.NoError(t, err)
	})
}

func TestSetPassword(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		u, invite, err := d.Invite(t.Context(), "ada@example.com", "Ada")
		require.NoError(t, err)
		requireBad(t, d.SetPassword(t.Context(), u.ID, "ADA@example.com"), "the password is the e-mail address")
		requireBad(t, d.SetPassword(t.Context(), u.ID, "short"), "at least 10 characters")
		require.Empty(t, d.told())
		d.clock.move(time.Minute)
		require.NoError(t, d.SetPassword(t.Context(), u.ID, good))
		require.Equal(t, []string{"password_changed " + u.ID}, d.told())
		u, err = d.Verify(t.Context(), u.Email, good)
		require.NoError(t, err)
		require.True(t, u.HasPassword)
		require.Equal(t, start.Add(time.Minute), u.UpdatedAt)
		_, err = d.Accept(t.Context(), invite.Secret, better)
		require.ErrorIs(t, err, ErrLinkInvalid, "an older way in is closed")
	})
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		u := d.user(t, "ada@example.com", good)
		reset, err := d.ResetLink(t.Context(), u.ID)
		require.NoError(t, err)
		require.Equal(t, ErrBadCredentials, d.ChangePassword(t.Context(), u.ID, better, better))
		require.Equal(t, ErrBadCredentials, d.ChangePassword(t.Context(), u.ID, "", better))
		requireBad(t, d.ChangePassword(t.Context(), u.ID, good, "short"), "at least 10 characters")
		_, err = d.CheckLink(t.Context(), reset.Secret)
		require.NoError(t, err)
		require.Empty(t, d.told())

		require.NoError(t, d.ChangePassword(t.Context(), u.ID, good, better))
		require.Equal(t, []string{"password_changed " + u.ID}, d.told())
		_, err = d.Verify(t.Context(), u.Email, good)
		require.Equal(t, ErrBadCredentials, err)
		_, err = d.Verify(t.Context(), u.Email, better)
		require.NoError(t, err)
		_, err = d.CheckLink(t.Context(), reset.Secret)
		require.ErrorIs(t, err, ErrLinkInvalid)

		none := d.user(t, "invited@example.com", "")
		require.Equal(t, ErrBadCredentials, d.ChangePassword(t.Context(), none.ID, "", better))
	})
}

// The password that is known may be changed once: who comes second knows the one of before.
func TestTheRaceToChangeAPassword(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		daemons := []*daemon{more(), more()}
		u := daemons[0].user(t, "ada@example.com", good)
		errs := race(8, func(i int) error {
			return daemons[i%2].ChangePassword(t.Context(), u.ID, good, better+strings.Repeat("x", i))
		})
		requireOneWinner(t, errs, ErrBadCredentials)
		for i, err := range errs {
			if err == nil {
				_, err = daemons[0].Verify(t.Context(), u.Email, better+strings.Repeat("x", i))
				require.NoError(t, err)
			}
		}
		require.Len(t, append(daemons[0].told(), daemons[1].told()...), 1)
	})
}

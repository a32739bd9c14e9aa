package identity

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// account is one whose issuer vouches for the address.
func account(subject, email string) External {
	return External{Issuer: "https://id.example.com", Subject: subject, Email: email, EmailVerified: true, Name: "Ada", Create: true}
}

func TestExternalMakesAUserOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		_, err := d.External(t.Context(), account("1", "ada@example.com"))
		require.ErrorIs(t, err, ErrSetupFirst)
		admin := d.user(t, "admin@example.com", good)

		ada := account("1", " Ada@Example.com")
		made, err := d.External(t.Context(), ada)
		require.NoError(t, err)
		require.Equal(t, User{ID: made.ID, Email: "ada@example.com", Name: "Ada", CreatedAt: start, UpdatedAt: start}, made)
		require.NotEqual(t, admin.ID, made.ID)

		// From here on the subject counts, whatever else the issuer says, also once there is nobody to be made.
		for _, later := range []External{ada, {Issuer: ada.Issuer, Subject: "1", Email: "admin@example.com", EmailVerified: true},
			{Issuer: ada.Issuer, Subject: "1", Email: "what is no address"}} {
			found, err := more().External(t.Context(), later)
			require.NoError(t, err)
			require.Equal(t, made, found)
		}
	})
}

func TestExternalLinksAnExistingUser(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		u := d.user(t, "ada@example.com", good)
		ada := account("1", "ADA@example.com")
		ada.Create = false
		found, err := d.External(t.Context(), ada)
		require.NoError(t, err)
		require.Equal(t, u, found, "name and password stay")
		_, err = d.Verify(t.Context(), u.Email, good)
		require.NoError(t, err)

		elsewhere := ada
		elsewhere.Issuer = "https://other.example.com"
		found, err = d.External(t.Context(), elsewhere)
		require.NoError(t, err, "another issuer is another account")
		require.Equal(t, u, found)
	})
}

// Nobody becomes somebody else by an address alone.
func TestExternalRefuses(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		u := d.user(t, "ada@example.com", good)
		_, err := d.External(t.Context(), account("1", "ada@example.com"))
		require.NoError(t, err)
		disabled := d.user(t, "disabled@example.com", good)
		require.NoError(t, d.SetDisabled(t.Context(), disabled.ID, true))
		unverified := func(subject, email string) External {
			e := account(subject, email)
			e.EmailVerified = false
			return e
		}
		stranger := account("2", "new@example.com")
		stranger.Create = false
		for name, test := range map[string]struct {
			e    External
			want error
		}{
			"an address that nobody vouches for":  {unverified("2", "disabled@example.com"), ErrEmailTaken},
			"a linked one, not vouched for":       {unverified("2", "ada@example.com"), ErrEmailTaken},
			"the address of one who left":         {account("2", "ada@example.com"), ErrEmailTaken},
			"a new one that nobody vouches for":   {unverified("2", "new@example.com"), ErrEmailUnverified},
			"a new one where none are to be made": {stranger, ErrNotLinked},
			"a disabled one":                      {account("3", "disabled@example.com"), ErrBadCredentials},
		} {
			_, err := d.External(t.Context(), test.e)
			require.ErrorIs(t, err, test.want, name)
			require.Contains(t, err.Error(), "(fix: ", name)
		}
		var links []link
		require.NoError(t, d.db.Find(&links).Error)
		require.Len(t, links, 1)
		listing, err := d.List(t.Context(), Page{})
		require.NoError(t, err)
		require.Len(t, listing.Users, 2)

		require.NoError(t, d.SetDisabled(t.Context(), u.ID, true))
		_, err = d.External(t.Context(), account("1", "ada@example.com"))
		require.Equal(t, ErrBadCredentials, err, "linked, and disabled since")
	})
}

func TestExternalRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		d.user(t, "admin@example.com", "")
		for name, change := range map[string]func(*External){
			"no issuer":         func(e *External) { e.Issuer = "" },
			"no subject":        func(e *External) { e.Subject = "" },
			"long subject":      func(e *External) { e.Subject = strings.Repeat("x", 256) },
			"zero byte":         func(e *External) { e.Subject = "1\x00" },
			"not UTF-8":         func(e *External) { e.Issuer += "\xff" },
			"no address":        func(e *External) { e.Email = "" },
			"not an address":    func(e *External) { e.Email = "Ada <ada@example.com>" },
			"two in an address": func(e *External) { e.Email = "ada@example.com,admin@example.com" },
		} {
			e := account("1", "ada@example.com")
			change(&e)
			_, err := d.External(t.Context(), e)
			requireBad(t, err, "")
			require.False(t, d.exists(t, linksTable), name)
		}
		odd := account(strings.Repeat("x", 255), "ada@example.com")
		odd.Name = strings.Repeat("long", 100)
		u, err := d.External(t.Context(), odd)
		require.NoError(t, err, "a name keeps nobody out")
		require.Empty(t, u.Name)
		for _, subject := range []string{"a", "A", "a ", "%"} {
			_, err = d.External(t.Context(), account(subject, "ada@example.com"))
			require.ErrorIs(t, err, ErrEmailTaken, "subjects are compared as they are")
		}
	})
}

// Who signs in twice at the same moment is one user.
func TestTheRaceOfFirstSignIns(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		daemons := []*daemon{more(), more()}
		daemons[0].user(t, "admin@example.com", "")
		for round := range 3 {
			ids := make([]string, 8)
			errs := race(8, func(i int) error {
				u, err := daemons[i%2].External(t.Context(), account(fmt.Sprint(round), fmt.Sprintf("user%d@example.com", round)))
				ids[i] = u.ID
				return err
			})
			for i, err := range errs {
				require.NoError(t, err)
				require.Equal(t, ids[0], ids[i])
			}
		}
	})
}

// A deleted user's account is nobody's: it may be somebody's again, who is somebody else.
func TestExternalAfterDelete(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		d.user(t, "admin@example.com", "")
		before, err := d.External(t.Context(), account("1", "ada@example.com"))
		require.NoError(t, err)
		require.NoError(t, d.Delete(t.Context(), before.ID))
		require.False(t, d.exists(t, linksTable))
		after, err := d.External(t.Context(), account("1", "ada@example.com"))
		require.NoError(t, err)
		require.NotEqual(t, before.ID, after.ID)
	})
}

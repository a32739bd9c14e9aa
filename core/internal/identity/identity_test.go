package identity

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/problem"
)

const (
	day     = 24 * time.Hour
	good    = "correct horse battery"
	better  = "staple correct horse"
	somehow = "0190a000-0000-7000-8000-000000000000" // an id that nobody has
)

// start is where the clocks of the tests begin.
var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// clock is a time that only moves when told to.
type clock struct{ at atomic.Pointer[time.Time] }

func (c *clock) now() time.Time { return *c.at.Load() }

func (c *clock) move(d time.Duration) {
	later := c.now().Add(d)
	c.at.Store(&later)
}

// daemon is a service, and what it does beside answering.
type daemon struct {
	*Service
	clock   *clock
	hashed  atomic.Int64 // how often argon2id ran
	mu      sync.Mutex
	endings []string // "REASON ID"
}

func (d *daemon) told() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	told := d.endings
	d.endings = nil
	return told
}

// cheap is for tests of everything but argon2id itself.
func cheap() params { return params{Memory: 8, Time: 1, Threads: 1} }

// newDaemon is one on a database; several on the same options are what several cores on one database are.
func newDaemon(t *testing.T, o storage.Options) *daemon {
	t.Helper()
	store, err := storage.Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	d := &daemon{clock: new(clock)}
	d.clock.at.Store(&start)
	d.Service, err = New(t.Context(), store.Core(), Options{Now: d.clock.now, Ended: func(ctx context.Context, id, why string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.endings = append(d.endings, why+" "+id)
		if ctx.Err() != nil {
			d.endings = append(d.endings, "the caller has left")
		}
	}})
	require.NoError(t, err)
	d.hasher.params = cheap()
	d.hasher.derive = func(password string, p params, salt []byte, size int) []byte {
		d.hashed.Add(1)
		return derive(password, p, salt, size)
	}
	return d
}

// onEach runs a test on each backend. Each call of more is one more daemon on the test's database.
func onEach(t *testing.T, test func(t *testing.T, more func() *daemon)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		test(t, func() *daemon { return newDaemon(t, storage.Options{DataDir: dir}) })
	})
	t.Run("postgresql", func(t *testing.T) {
		t.Parallel()
		url := config.SecretURL(dbtest.Empty(t))
		test(t, func() *daemon { // without roles of modules, which would outlive the database
			return newDaemon(t, storage.Options{DataDir: t.TempDir(), URL: url, MaxConns: 4, Isolation: storage.IsolationSchema})
		})
	})
}

// user makes one with a password; "" is none.
func (d *daemon) user(t *testing.T, email, password string) User {
	t.Helper()
	n := NewUser{Email: email}
	if password != "" {
		n.Password = &password
	}
	u, err := d.Create(t.Context(), n)
	require.NoError(t, err)
	return u
}

func requireBad(t *testing.T, err error, says string) {
	t.Helper()
	var refusal *problem.Problem
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, 400, refusal.Status)
	require.Contains(t, refusal.Detail, says)
	require.Contains(t, refusal.Detail, "(fix: ")
}

func TestAUserFromBirthToDeletion(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		password := good
		made, err := d.Create(t.Context(), NewUser{Email: "  Ada@Example.COM ", Name: " Ada Lovelace ", Password: &password})
		require.NoError(t, err)
		require.Equal(t, User{
			ID: made.ID, Email: "ada@example.com", Name: "Ada Lovelace", HasPassword: true, CreatedAt: start, UpdatedAt: start,
			PasswordChangedAt: &start,
		}, made)
		require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$`, made.ID)

		for _, look := range []func() (User, error){
			func() (User, error) { return d.Get(t.Context(), made.ID) },
			func() (User, error) { return d.FindByEmail(t.Context(), "ADA@example.com") },
			func() (User, error) { return d.Verify(t.Context(), "Ada@example.com", good) },
			func() (User, error) { return more().Get(t.Context(), made.ID) }, // another daemon
		} {
			found, err := look()
			require.NoError(t, err)
			require.Equal(t, made, found)
		}

		d.clock.move(time.Hour)
		email, name := "countess@example.com", ""
		changed, err := d.Update(t.Context(), made.ID, Change{Email: &email, Name: &name})
		require.NoError(t, err)
		require.Equal(t, User{
			ID: made.ID, Email: "countess@example.com", HasPassword: true, CreatedAt: start, UpdatedAt: start.Add(time.Hour),
			PasswordChangedAt: &start,
		}, changed)
		found, err := d.Get(t.Context(), made.ID)
		require.NoError(t, err)
		require.Equal(t, changed, found)
		require.Empty(t, d.told(), "another name ends no session")

		require.NoError(t, d.Delete(t.Context(), made.ID))
		require.Equal(t, []string{"deleted " + made.ID}, d.told())
		requireGone(t, d, made.ID)
		again := d.user(t, "countess@example.com", "")
		require.NotEqual(t, made.ID, again.ID)
	})
}

// requireGone: whatever is done with the user, there is none.
func requireGone(t *testing.T, d *daemon, id string) {
	t.Helper()
	name := "x"
	_, getErr := d.Get(t.Context(), id)
	_, updateErr := d.Update(t.Context(), id, Change{Name: &name})
	_, resetErr := d.ResetLink(t.Context(), id)
	for call, err := range map[string]error{
		"get": getErr, "update": updateErr, "reset": resetErr, "delete": d.Delete(t.Context(), id),
		"disable": d.SetDisabled(t.Context(), id, true), "set password": d.SetPassword(t.Context(), id, good),
		"change password": d.ChangePassword(t.Context(), id, good, better),
	} {
		require.ErrorIs(t, err, ErrNotFound, call)
	}
	require.Empty(t, d.told(), "nothing ended")
}

func TestThereIsNoSuchUser(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		u := d.user(t, "ada@example.com", good)
		for _, id := range []string{
			"", somehow, strings.ToUpper(u.ID), "{" + u.ID + "}", "urn:uuid:" + u.ID, strings.ReplaceAll(u.ID, "-", ""),
			u.ID + " ", "\x00", "\xff", "%", "' OR 1=1 --",
		} {
			requireGone(t, d, id)
		}
		for _, email := range []string{"", "nobody@example.com", "\x00", "\xff@example.com", "ada", "%@example.com"} {
			_, err := d.FindByEmail(t.Context(), email)
			require.ErrorIs(t, err, ErrNotFound, email)
		}
	})
}

func TestNoTwoUsersHaveOneAddress(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		first := d.user(t, "ada@example.com", "")
		second := d.user(t, "eve@example.com", "")
		taken := "ADA@example.com"
		_, createErr := d.Create(t.Context(), NewUser{Email: taken})
		_, _, inviteErr := d.Invite(t.Context(), taken, "")
		_, updateErr := d.Update(t.Context(), second.ID, Change{Email: &taken})
		for _, err := range []error{createErr, inviteErr, updateErr} {
			require.ErrorIs(t, err, ErrEmailTaken)
			require.Contains(t, err.Error(), "(fix: ")
		}
		same, err := d.Update(t.Context(), first.ID, Change{Email: &taken})
		require.NoError(t, err, "one's own is free")
		require.Equal(t, first, same)
	})
}

// Of many who want the address at once, one gets it.
func TestTheRaceForAnAddress(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		daemons := []*daemon{more(), more()}
		errs := race(8, func(i int) error {
			_, err := daemons[i%2].Create(t.Context(), NewUser{Email: "ada@example.com"})
			return err
		})
		requireOneWinner(t, errs, ErrEmailTaken)
	})
}

// race calls what n times at the same moment.
func race(n int, what func(i int) error) []error {
	errs := make([]error, n)
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-begin
			errs[i] = what(i)
		})
	}
	close(begin)
	all.Wait()
	return errs
}

func requireOneWinner(t *testing.T, errs []error, losers ...error) {
	t.Helper()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		require.True(t, slices.ContainsFunc(losers, func(loser error) bool { return isA(err, loser) }), "%v", err)
	}
	require.Equal(t, 1, won)
}

func TestUpdateChangesWhatIsGiven(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		u, err := d.Create(t.Context(), NewUser{Email: "ada@example.com", Name: "Ada"})
		require.NoError(t, err)
		name := "Countess"
		u, err = d.Update(t.Context(), u.ID, Change{Name: &name})
		require.NoError(t, err)
		require.Equal(t, "Countess ada@example.com", u.Name+" "+u.Email)
		email := "countess@example.com"
		u, err = d.Update(t.Context(), u.ID, Change{Email: &email})
		require.NoError(t, err)
		require.Equal(t, "Countess countess@example.com", u.Name+" "+u.Email)
		for _, c := range []Change{{Email: new("no address")}, {Name: new("a\x1b[31m")}} {
			_, err = d.Update(t.Context(), u.ID, c)
			requireBad(t, err, "")
		}
	})
}

func TestDisabledUsersStayOut(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		u := d.user(t, "ada@example.com", good)
		reset, err := d.ResetLink(t.Context(), u.ID)
		require.NoError(t, err)
		for range 2 {
			require.NoError(t, d.SetDisabled(t.Context(), u.ID, true))
			require.Equal(t, []string{"disabled " + u.ID}, d.told())
		}
		_, err = d.Verify(t.Context(), u.Email, good)
		require.Equal(t, ErrBadCredentials, err)
		require.Equal(t, ErrBadCredentials, d.ChangePassword(t.Context(), u.ID, good, better))
		_, err = d.Accept(t.Context(), reset.Secret, better)
		require.ErrorIs(t, err, ErrLinkInvalid)
		_, err = d.ResetLink(t.Context(), u.ID)
		require.ErrorIs(t, err, ErrDisabled)
		require.Empty(t, d.told())

		require.NoError(t, d.SetDisabled(t.Context(), u.ID, false))
		require.Empty(t, d.told(), "who is let in again is not signed in")
		_, err = d.Verify(t.Context(), u.Email, good)
		require.NoError(t, err)
		_, err = d.CheckLink(t.Context(), reset.Secret)
		require.ErrorIs(t, err, ErrLinkInvalid, "the link does not come back")
	})
}

// Who asks for a change may leave as soon as it is made.
func TestSessionsEndWhoeverLeaves(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		u := d.user(t, "ada@example.com", good)
		ctx, leave := context.WithCancel(t.Context())
		told := d.ended
		d.ended = func(ctx context.Context, id, why string) { leave(); told(ctx, id, why) }
		require.NoError(t, d.Delete(ctx, u.ID))
		require.Equal(t, []string{"deleted " + u.ID}, d.told())
	})
}

// Who must not leave stays, with all that they have.
func TestLeavingCanBeRefused(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		u := d.user(t, "ada@example.com", good)
		last := errors.New("the last administrator")
		var asked []string
		d.leaving = func(_ context.Context, tx *gorm.DB, id, why string) error {
			active, err := Active(tx, []string{id, "nobody"})
			asked = append(asked, why+" "+id)
			require.Equal(t, []string{id}, active)
			return errors.Join(err, last)
		}
		require.ErrorIs(t, d.SetDisabled(t.Context(), u.ID, true), last)
		require.ErrorIs(t, d.Delete(t.Context(), u.ID), last)
		require.Equal(t, []string{"disabled " + u.ID, "deleted " + u.ID}, asked)
		require.Empty(t, d.told())
		found, err := d.Verify(t.Context(), "ada@example.com", good)
		require.NoError(t, err)
		require.Equal(t, u.ID, found.ID)

		d.leaving = func(context.Context, *gorm.DB, string, string) error { return nil }
		require.NoError(t, d.SetDisabled(t.Context(), u.ID, true))
		active, err := Active(d.db, []string{u.ID})
		require.NoError(t, err)
		require.Empty(t, active)
	})
}

func TestUsersAsJSON(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(User{ID: somehow, Email: "a@b.c", Name: "A", HasPassword: true, CreatedAt: start, UpdatedAt: start})
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"`+somehow+`","email":"a@b.c","name":"A","disabled":false,"has_password":true,
		"created_at":"2026-05-01T12:00:00Z","updated_at":"2026-05-01T12:00:00Z"}`, string(text))
}

// The zero Options do.
func TestWithoutOptions(t *testing.T) {
	t.Parallel()
	store, err := storage.Open(t.Context(), storage.Options{DataDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	s, err := New(t.Context(), store.Core(), Options{})
	require.NoError(t, err)
	password := good
	u, err := s.Create(t.Context(), NewUser{Email: "ada@example.com", Password: &password})
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), u.CreatedAt, time.Minute)
	require.Equal(t, time.UTC, u.CreatedAt.Location())
	require.NoError(t, s.Delete(t.Context(), u.ID))
}

// exists tells whether a table holds anything.
func (d *daemon) exists(t *testing.T, table string) bool {
	t.Helper()
	var n int64
	require.NoError(t, d.db.Session(&gorm.Session{Context: t.Context()}).Table(table).Count(&n).Error)
	return n > 0
}

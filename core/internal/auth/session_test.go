package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
)

func TestASessionFromLoginToLogout(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		s := w.replica(t)
		tokens := ada(t, s)
		require.Equal(t, 900, tokens.ExpiresIn)
		require.Equal(t, "Bearer", tokens.TokenType)
		require.Regexp(t, `^pfr_[A-Za-z0-9_-]{80}$`, tokens.RefreshToken)
		require.Equal(t, "u-ada", tokens.User.ID)
		for range 2 { // from the database, then from memory
			identity, err := s.Authenticate(t.Context(), tokens.AccessToken)
			require.NoError(t, err)
			require.Equal(t, Identity{
				Principal: link.Principal{Kind: link.KindUser, ID: "u-ada", Name: "Ada"}, Session: tokens.Session,
			}, identity)
		}
		sessions, err := s.Sessions(t.Context(), "u-ada")
		require.NoError(t, err)
		require.Equal(t, []Session{{
			ID: tokens.Session, UserID: "u-ada", CreatedAt: start, LastUsedAt: start, ExpiresAt: start.Add(720 * time.Hour),
			Address: "192.0.2.7", UserAgent: "test/1",
		}}, sessions)

		require.NoError(t, s.Logout(t.Context(), tokens.Session))
		requireInvalid(t, s, tokens.AccessToken)
		_, err = s.Refresh(t.Context(), tokens.RefreshToken, "")
		require.Equal(t, ErrSessionEnded, err)
		sessions, err = s.Sessions(t.Context(), "u-ada")
		require.NoError(t, err)
		require.Empty(t, sessions)
		require.NoError(t, s.Logout(t.Context(), tokens.Session))
		require.Equal(t, "signed out", w.why(t, tokens.Session))
	})
}

func (w *world) why(t *testing.T, session string) string {
	t.Helper()
	var r sessionRow
	require.NoError(t, w.store(t).Core().Take(&r, "id = ?", session).Error)
	return r.EndedWhy
}

func TestTokensSpellTheirNames(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(Tokens{AccessToken: "a", RefreshToken: "r", ExpiresIn: 900, TokenType: "Bearer", Session: "s"})
	require.NoError(t, err)
	require.JSONEq(t, `{"access_token":"a","refresh_token":"r","expires_in":900,"token_type":"Bearer"}`, string(text))
}

func TestWhatAnAccessTokenSays(t *testing.T) {
	t.Parallel()
	s := onSQLite(t).replica(t, func(o *Options) { o.Issuer = "https://platform.example"; o.AccessTTL = time.Hour })
	tokens := ada(t, s)
	parts := strings.Split(tokens.AccessToken, ".")
	var h, c map[string]any
	for i, into := range []*map[string]any{&h, &c} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, into))
	}
	require.Equal(t, map[string]any{"alg": "EdDSA", "typ": "at+jwt", "kid": h["kid"]}, h)
	require.NotEmpty(t, h["kid"])
	require.Len(t, c["jti"], 16)
	require.Equal(t, map[string]any{
		"iss": "https://platform.example", "aud": "platformd", "sub": "u-ada", "name": "Ada", "sid": tokens.Session, "jti": c["jti"],
		"iat": float64(start.Unix()), "nbf": float64(start.Add(-30 * time.Second).Unix()), "exp": float64(start.Add(time.Hour).Unix()),
	}, c)
}

// Whatever is wrong, the answer is one and the same.
func TestLoginAnswersUniformly(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	s := w.replica(t)
	w.edit("u-bob", func(u *User) { u.Disabled = true })
	for name, l := range map[string]Login{
		"unknown user":   {Email: "eve@example.com", Password: "correct horse"},
		"wrong password": {Email: "ada@example.com", Password: "x"},
		"disabled":       {Email: "bob@example.com", Password: "battery staple"}, "nothing": {},
	} {
		tokens, err := s.Login(t.Context(), l)
		require.Equal(t, ErrBadCredentials, err, name)
		require.Equal(t, Tokens{}, tokens, name)
	}
	w.setDown(true)
	tokens, err := s.Login(t.Context(), Login{Email: "ada@example.com", Password: "correct horse"})
	require.ErrorIs(t, err, errOutage)
	require.NotErrorIs(t, err, ErrBadCredentials, "not to know is another thing than to know that it is wrong")
	require.Equal(t, Tokens{}, tokens)
	_, err = onSQLite(t).replica(t, func(o *Options) { o.Users = Users{} }).Login(t.Context(), Login{})
	require.ErrorContains(t, err, "there are no accounts")
}

func TestRefreshRotates(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		here, there := w.replica(t), w.replica(t)
		tokens := ada(t, here)
		for i := range 6 {
			w.clock.move(10 * time.Hour)
			next, err := []*Service{here, there}[i%2].Refresh(t.Context(), tokens.RefreshToken, "198.51.100.1")
			require.NoError(t, err)
			require.Equal(t, tokens.Session, next.Session)
			require.NotEqual(t, tokens.RefreshToken, next.RefreshToken)
			requireInvalid(t, here, tokens.AccessToken) // it has expired
			requireAda(t, here, next.AccessToken)
			tokens = next
		}
		sessions, err := here.Sessions(t.Context(), "u-ada")
		require.NoError(t, err)
		require.Len(t, sessions, 1)
		require.Equal(t, "198.51.100.1", sessions[0].Address)
		require.Equal(t, w.clock.now(), sessions[0].LastUsedAt)
		w.clock.move(720 * time.Hour)
		_, err = here.Refresh(t.Context(), tokens.RefreshToken, "")
		require.Equal(t, ErrSessionEnded, err, "a month without use")
	})
}

// Any refresh token but the last ends the session, also for whoever has the last.
func TestAnOldRefreshTokenEndsTheSession(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		s := w.replica(t)
		for _, generation := range []int{0, 1, 2} {
			all := []Tokens{ada(t, s)}
			for range 3 {
				next, err := s.Refresh(t.Context(), all[len(all)-1].RefreshToken, "")
				require.NoError(t, err)
				all = append(all, next)
			}
			last := all[len(all)-1]
			requireAda(t, s, last.AccessToken)
			left, leave := context.WithCancel(t.Context())
			leave() // the thief does not wait
			_, err := s.Refresh(left, all[generation].RefreshToken, "")
			if !errors.Is(err, context.Canceled) { // the database may not even have looked
				require.ErrorIs(t, err, ErrSessionEnded)
			}
			_, err = s.Refresh(t.Context(), all[generation].RefreshToken, "")
			require.ErrorIs(t, err, ErrSessionEnded)
			_, err = s.Refresh(t.Context(), last.RefreshToken, "")
			require.Equal(t, ErrSessionEnded, err)
			requireInvalid(t, s, last.AccessToken)
			require.Equal(t, whyReused, w.why(t, last.Session))
		}
	})
}

func TestReuseSaysWhose(t *testing.T) {
	t.Parallel()
	s := onSQLite(t).replica(t)
	tokens := ada(t, s)
	_, err := s.Refresh(t.Context(), tokens.RefreshToken, "")
	require.NoError(t, err)
	_, err = s.Refresh(t.Context(), tokens.RefreshToken, "")
	var reuse *ReuseError
	require.ErrorAs(t, err, &reuse)
	require.Equal(t, ReuseError{UserID: "u-ada", Session: tokens.Session}, *reuse)
	require.Equal(t, ErrSessionEnded.Error(), reuse.Error())
}

// Of many who bring one token at the same moment to several replicas one gets new ones, and the session is over: nobody can tell
// that it was not stolen.
func TestOneOfManyRefreshesWins(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		replicas := []*Service{w.replica(t), w.replica(t)}
		for range 10 {
			tokens := ada(t, replicas[0])
			var won []Tokens
			var mu sync.Mutex
			var all sync.WaitGroup
			for i := range 6 {
				all.Go(func() {
					got, err := replicas[i%2].Refresh(t.Context(), tokens.RefreshToken, "")
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						won = append(won, got)
					} else if !errors.Is(err, ErrSessionEnded) || got != (Tokens{}) {
						t.Error(got, err)
					}
				})
			}
			all.Wait()
			require.Len(t, won, 1)
			_, err := replicas[0].Refresh(t.Context(), won[0].RefreshToken, "")
			require.Equal(t, ErrSessionEnded, err)
		}
	})
}

func TestRefreshRefusesOthers(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	s := w.replica(t)
	tokens := ada(t, s)
	for name, bad := range map[string]string{
		"empty": "", "access token": tokens.AccessToken, "cut": tokens.RefreshToken[:len(tokens.RefreshToken)-1],
		"line break": tokens.RefreshToken + "\n", "other prefix": "pfd_" + tokens.RefreshToken[4:],
		"changed": tokens.RefreshToken[:10] + "AAAA" + tokens.RefreshToken[14:],
	} {
		_, err := s.Refresh(t.Context(), bad, "")
		require.Equal(t, ErrSessionEnded, err, name)
	}
	stranger := newRefreshToken(newFamily())
	_, err := s.Refresh(t.Context(), stranger.text(), "")
	require.Equal(t, ErrSessionEnded, err)
	requireAda(t, s, tokens.AccessToken)

	w.setDown(true)
	_, err = s.Refresh(t.Context(), tokens.RefreshToken, "")
	require.ErrorIs(t, err, errOutage)
	w.setDown(false)
	_, err = s.Refresh(t.Context(), tokens.RefreshToken, "")
	require.NoError(t, err, "what could not be found out has cost nothing")
}

// Users that are disabled, deleted or have another password sign in anew, even if nobody told this room.
func TestUsersChange(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*User){
		"disabled": func(u *User) { u.Disabled = true }, "deleted": nil, "another password": func(u *User) { u.Stamp = "2" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := onSQLite(t)
			s := w.replica(t)
			tokens := ada(t, s)
			requireAda(t, s, tokens.AccessToken)
			w.edit("u-ada", change)
			_, err := s.Refresh(t.Context(), tokens.RefreshToken, "")
			require.Equal(t, ErrSessionEnded, err)
			w.clock.move(cacheTime)
			requireInvalid(t, s, tokens.AccessToken)
		})
	}
}

func TestEndUser(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		here, there := w.replica(t), w.replica(t)
		first, second := ada(t, here), ada(t, here)
		bob, err := here.Login(t.Context(), Login{Email: "bob@example.com", Password: "battery staple"})
		require.NoError(t, err)
		secret, _, err := here.Create(t.Context(), NewToken{Owner: "u-ada", TTL: day})
		require.NoError(t, err)
		for _, token := range []string{first.AccessToken, second.AccessToken, secret} {
			requireAda(t, here, token)
			requireAda(t, there, token)
		}
		w.edit("u-ada", func(u *User) { u.Disabled = true })
		require.NoError(t, here.EndUser(t.Context(), "u-ada", "disabled"))
		for _, token := range []string{first.AccessToken, second.AccessToken, secret} {
			requireInvalid(t, here, token)
		}
		_, err = here.Authenticate(t.Context(), bob.AccessToken)
		require.NoError(t, err)
		require.Equal(t, "disabled", w.why(t, first.Session))
		requireAda(t, there, first.AccessToken)
		w.clock.move(cacheTime) // the stated bound
		for _, token := range []string{first.AccessToken, second.AccessToken, secret} {
			requireInvalid(t, there, token)
		}
	})
}

func TestEndSession(t *testing.T) {
	t.Parallel()
	s := onSQLite(t).replica(t)
	first, second := ada(t, s), ada(t, s)
	requireAda(t, s, first.AccessToken)
	for _, of := range [][2]string{{"u-bob", first.Session}, {"u-ada", "absent"}, {"", first.Session}, {"u-ada", ""}} {
		require.Equal(t, ErrNoSession, s.EndSession(t.Context(), of[0], of[1]))
	}
	requireAda(t, s, first.AccessToken)
	require.NoError(t, s.EndSession(t.Context(), "u-ada", first.Session))
	requireInvalid(t, s, first.AccessToken)
	requireAda(t, s, second.AccessToken)
	require.Equal(t, ErrNoSession, s.EndSession(t.Context(), "u-ada", first.Session))
}

// However requests and a logout fall together: after Logout has returned, the token is refused.
func TestLogoutUnderLoad(t *testing.T) {
	t.Parallel()
	s := onSQLite(t).replica(t)
	for range 10 {
		tokens := ada(t, s)
		stop := make(chan struct{})
		var busy sync.WaitGroup
		for range 4 {
			busy.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = s.Authenticate(t.Context(), tokens.AccessToken)
					}
				}
			})
		}
		require.NoError(t, s.Logout(t.Context(), tokens.Session))
		for range 10 {
			requireInvalid(t, s, tokens.AccessToken)
		}
		close(stop)
		busy.Wait()
	}
}

// Not to know is another thing than to know that it is not: nobody is let in, and nobody is told that the token is bad.
func TestAnOutageYieldsNobody(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	store := w.store(t)
	s := serve(t, store, Options{Users: w.users()}, w.clock)
	tokens := ada(t, s)
	service, _, err := s.Create(t.Context(), NewToken{TTL: day})
	require.NoError(t, err)
	personal, _, err := s.Create(t.Context(), NewToken{TTL: day, Owner: "u-ada"})
	require.NoError(t, err)
	unjudged := func(token string, why string) {
		identity, err := s.Authenticate(t.Context(), token)
		require.ErrorContains(t, err, why)
		require.NotErrorIs(t, err, ErrInvalidToken)
		require.Equal(t, Identity{}, identity)
	}
	w.setDown(true)
	unjudged(tokens.AccessToken, errOutage.Error())
	unjudged(personal, errOutage.Error())
	w.setDown(false)
	require.NoError(t, store.Close())
	unjudged(tokens.AccessToken, "look up the session")
	unjudged(service, "look up the token")
	unjudged(personal, "look up the token")
	w.clock.move(keyPause)
	unknown := forge(t, s, tokens.AccessToken, forgery{header: map[string]any{"kid": "0123456789abcdef"}})
	unjudged(unknown, "read the keys")
	_, err = s.Refresh(t.Context(), tokens.RefreshToken, "")
	require.ErrorContains(t, err, "look up the session")
	_, err = s.Login(t.Context(), Login{Email: "ada@example.com", Password: "correct horse"})
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrBadCredentials)
}

func TestAUsedSessionCostsNoQuery(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	store := w.store(t)
	s := serve(t, store, Options{Users: w.users()}, w.clock)
	tokens := ada(t, s)
	requireAda(t, s, tokens.AccessToken)
	require.NoError(t, store.Close())
	w.clock.move(cacheTime - time.Nanosecond)
	requireAda(t, s, tokens.AccessToken)
	w.clock.move(time.Nanosecond)
	_, err := s.Authenticate(t.Context(), tokens.AccessToken)
	require.ErrorContains(t, err, "look up the session")
}

// What is remembered is not remembered beyond the token's own end.
func TestARememberedTokenExpires(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	s := w.replica(t)
	tokens := ada(t, s)
	w.clock.move(15*time.Minute - time.Second)
	requireAda(t, s, tokens.AccessToken)
	w.clock.move(time.Second)
	requireInvalid(t, s, tokens.AccessToken)
}

func TestWhatClientsSayIsCleaned(t *testing.T) {
	t.Parallel()
	require.Equal(t, "curl/8 é", clean("curl/8\x1b \u202eé\n\xff", 200))
	require.Len(t, []rune(clean(strings.Repeat("é", 5000), 200)), 200)
	s := onSQLite(t).replica(t)
	_, err := s.Login(t.Context(), Login{
		Email: "ada@example.com", Password: "correct horse", UserAgent: strings.Repeat("é\x00", 300), Address: strings.Repeat("1", 90),
	})
	require.NoError(t, err)
	sessions, err := s.Sessions(t.Context(), "u-ada")
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("é", 200), sessions[0].UserAgent)
	require.Len(t, sessions[0].Address, 64)
}

func TestOldSessionsAreDeleted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		s := w.replica(t)
		ended, kept := ada(t, s), ada(t, s)
		require.NoError(t, s.Logout(t.Context(), ended.Session))
		count := func() (n int64) {
			require.NoError(t, s.db.Model(&sessionRow{}).Count(&n).Error)
			return n
		}
		w.clock.move(sessionsKept)
		require.NoError(t, s.sweep(t.Context()))
		require.EqualValues(t, 2, count())
		w.clock.move(time.Second)
		require.NoError(t, s.sweep(t.Context()))
		require.EqualValues(t, 1, count())
		require.NotEmpty(t, w.whyNot(t, kept.Session))
		w.clock.move(sessionsKept)
		require.NoError(t, s.sweep(t.Context()))
		require.Zero(t, count())
	})
}

// whyNot returns the session's user, who must be there.
func (w *world) whyNot(t *testing.T, session string) string {
	t.Helper()
	var r sessionRow
	require.NoError(t, w.store(t).Core().Take(&r, "id = ?", session).Error)
	return r.UserID
}

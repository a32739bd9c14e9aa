package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func attempt(th *throttle, email, address string, v verdict) time.Duration {
	y, err := th.begin(email, address)
	var slow *TooManyError
	if errors.As(err, &slow) {
		return slow.RetryAfter
	}
	y.end(v)
	return 0
}

func TestGuessingAtAnAccountSlowsDown(t *testing.T) {
	t.Parallel()
	c := newClock()
	th := newThrottle(c.now)
	host := 0
	from := func() string { host++; return fmt.Sprintf("192.0.2.%d", host) } // a botnet
	for range freeFailures {
		require.Zero(t, attempt(th, "ada", from(), failed))
	}
	for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900} {
		wait *= time.Second
		require.Equal(t, wait, attempt(th, "ada", from(), failed))
		require.Zero(t, attempt(th, "bob", from(), unknown), "another account")
		c.move(wait - time.Nanosecond)
		require.Equal(t, time.Second, attempt(th, "ada", from(), succeeded), "never less than a second, and not even with the password")
		c.move(time.Nanosecond)
		require.Zero(t, attempt(th, "ada", from(), failed))
	}
	c.move(maxDelay)
	require.Zero(t, attempt(th, "ada", from(), succeeded))
	for range freeFailures {
		require.Zero(t, attempt(th, "ada", from(), failed), "a success resets the account")
	}
}

func TestFailuresAreForgotten(t *testing.T) {
	t.Parallel()
	c := newClock()
	th := newThrottle(c.now)
	for range 4 {
		for i := range freeFailures {
			require.Zero(t, attempt(th, "ada", fmt.Sprintf("192.0.2.%d", i), failed))
		}
		c.move(firstDelay + failureWindow)
	}
}

func TestGuessingFromAnAddressSlowsDown(t *testing.T) {
	t.Parallel()
	for name, pair := range map[string][2]string{
		"IPv4": {"192.0.2.1", "192.0.2.2"}, "IPv6, by /64": {"2001:db8:0:1::%d", "2001:db8:0:2::1"},
		"IPv4 in IPv6": {"::ffff:192.0.2.1", "::ffff:192.0.2.2"}, "none at all": {"", "192.0.2.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			th := newThrottle(newClock().now)
			user := 0
			next := func(v verdict, address string) time.Duration {
				user++
				if name == "IPv6, by /64" && address == pair[0] {
					address = fmt.Sprintf(address, user)
				}
				return attempt(th, fmt.Sprint(user), address, v)
			}
			for i := range freeFailures {
				require.Zero(t, next(failed, pair[0]))
				if i < freeFailures-1 {
					require.Zero(t, next(succeeded, pair[0]), "the attacker's own account resets nothing")
				}
			}
			require.Equal(t, time.Second, next(succeeded, pair[0]))
			require.Zero(t, next(succeeded, pair[1]))
		})
	}
	require.Equal(t, network("192.0.2.1"), network("::ffff:192.0.2.1"), "one host has not two accounts")
	require.Equal(t, network("fe80::1%eth0"), network("fe80::2"))
}

// Who asks a hundred times at once gets no more guesses.
func TestGuessesAtOnceAreGuesses(t *testing.T) {
	t.Parallel()
	th := newThrottle(newClock().now)
	var under []*try
	for i := range 100 {
		if y, err := th.begin("ada", fmt.Sprintf("192.0.2.%d", i)); err == nil {
			under = append(under, y)
		}
	}
	require.Len(t, under, freeFailures)
	for _, y := range under {
		y.end(failed)
	}
	require.Equal(t, time.Second, attempt(th, "ada", "192.0.2.101", failed))
	under = nil
	for i := range 100 {
		if y, err := th.begin(fmt.Sprint(i), "198.51.100.1"); err == nil {
			under = append(under, y)
		}
	}
	require.Len(t, under, addressTries, "an office may sign in at nine o'clock")
}

// What could not be found out is nobody's failure, nor a success.
func TestAnOutageIsNoFailure(t *testing.T) {
	t.Parallel()
	th := newThrottle(newClock().now)
	for i := range freeFailures {
		require.Zero(t, attempt(th, "eve", fmt.Sprintf("198.51.100.%d", i), failed))
		if i < freeFailures-1 {
			require.Zero(t, attempt(th, "eve", "198.51.100.99", unknown))
		}
	}
	require.Equal(t, time.Second, attempt(th, "eve", "198.51.100.99", unknown))
	for range 50 {
		require.Zero(t, attempt(th, "ada", "192.0.2.1", unknown))
	}
}

func TestTheThrottleIsBounded(t *testing.T) {
	t.Parallel()
	th := newThrottle(newClock().now)
	for range freeFailures {
		attempt(th, "ada", "192.0.2.1", failed)
	}
	early, err := th.begin("early", "192.0.2.2")
	require.NoError(t, err)
	for i := range throttleSize {
		attempt(th, fmt.Sprint(i), fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), failed)
		attempt(th, "ada", "192.0.2.1", failed) // in use: it is not forgotten
	}
	early.end(failed) // forgotten meanwhile
	require.Len(t, th.entries, throttleSize)
	require.Equal(t, throttleSize, th.order.Len())
	require.NotZero(t, attempt(th, "ada", "192.0.2.3", failed))
	require.Zero(t, attempt(th, "0", "192.0.2.4", failed))
}

func TestLoginIsThrottled(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	s := w.replica(t)
	try := func(email, password string) error {
		_, err := s.Login(t.Context(), Login{Email: email, Password: password, Address: "192.0.2.1"})
		return err
	}
	w.setDown(true)
	for range 20 {
		require.ErrorIs(t, try("ada@example.com", "x"), errOutage)
	}
	w.setDown(false)
	before := w.looks()
	for i := range freeFailures { // also unknown ones, however they are spelt
		require.Equal(t, ErrBadCredentials, try([]string{"eve@example.com", " EVE@example.com "}[i%2], "x"))
	}
	var slow *TooManyError
	require.ErrorAs(t, try("eve@example.com", "x"), &slow)
	require.Equal(t, time.Second, slow.RetryAfter)
	require.Equal(t, "too many sign-ins have failed (fix: wait 1 s, then try again)", slow.Error())
	require.ErrorAs(t, try("ada@example.com", "correct horse"), &slow, "the address has failed as well")
	require.Equal(t, freeFailures, w.looks()-before, "no password was looked at")
	w.clock.move(time.Second)
	require.NoError(t, try("ada@example.com", "correct horse"))
}

// Who holds a session guesses no better at what its user knows than who does not; and keeps nobody from signing in.
func TestConfirmIsThrottled(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	s := w.replica(t)
	checks := 0
	confirm := func(user, address string, err error) error {
		return s.Confirm(t.Context(), user, address, func(context.Context) error { checks++; return err })
	}
	for range 2 * freeFailures {
		require.ErrorIs(t, confirm("u-ada", "192.0.2.1", errOutage), errOutage, "nobody knows")
	}
	for i := range freeFailures {
		require.Equal(t, ErrBadCredentials, confirm("u-ada", fmt.Sprintf("192.0.2.%d", i), ErrBadCredentials))
	}
	var slow *TooManyError
	before := checks
	require.ErrorAs(t, confirm("u-ada", "192.0.2.9", nil), &slow)
	require.Equal(t, time.Second, slow.RetryAfter)
	require.Equal(t, before, checks, "nothing was looked at")
	require.NoError(t, confirm("u-bob", "192.0.2.9", nil))
	ada(t, s)
	w.clock.move(time.Second)
	require.NoError(t, confirm("u-ada", "192.0.2.9", nil))
	for range freeFailures {
		require.Equal(t, ErrBadCredentials, confirm("u-ada", "192.0.2.10", ErrBadCredentials), "a success resets the user")
	}
}

// Of a thousand guesses at the same moment five are looked at.
func TestLoginUnderAttack(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	s := w.replica(t)
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			address := fmt.Sprintf("10.0.%d.%d", i/250, i%250)
			_, err := s.Login(t.Context(), Login{Email: "ada@example.com", Password: fmt.Sprint(i), Address: address})
			if err == nil {
				t.Error("guessed")
			}
		})
	}
	all.Wait()
	require.Equal(t, freeFailures, w.looks())
}

package identity

import (
	"context"
	"encoding/base64"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// known is a hash of "password" by the reference implementation of argon2 (its test.c).
const known = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

func TestPHC(t *testing.T) {
	t.Parallel()
	h, err := parsePHC(known)
	require.NoError(t, err)
	require.Equal(t, params{Memory: 65536, Time: 2, Threads: 1}, h.params)
	require.Equal(t, "somesalt", string(h.Salt))
	require.Len(t, h.Key, 32)
	require.Equal(t, known, h.String())
}

func TestPHCIsStrict(t *testing.T) {
	t.Parallel()
	swap := func(old, with string) string {
		require.Contains(t, known, old)
		return strings.Replace(known, old, with, 1)
	}
	b64 := func(n int) string { return base64.RawStdEncoding.EncodeToString(make([]byte, n)) }
	for name, bad := range map[string]string{
		"empty": "", "text": good, "one part": known[1:], "more parts": known + "$", "space before": " " + known,
		"line after": known + "\n",
		"argon2i":    swap("argon2id", "argon2i"), "argon2d": swap("argon2id", "argon2d"), "bcrypt": "$2a$10$N9qo8uLOickgx2ZMRZoMye",
		"upper case": swap("argon2id", "Argon2id"), "old version": swap("v=19", "v=16"), "no version": swap("$v=19", ""),
		"other order": swap("m=65536,t=2", "t=2,m=65536"), "leading zero": swap("t=2", "t=02"), "plus": swap("t=2", "t=+2"),
		"negative": swap("t=2", "t=-2"), "hex": swap("t=2", "t=0x2"), "space inside": swap("t=2", "t= 2"),
		"more": swap("p=1", "p=1,x=1"),
		"less": swap(",p=1", ""), "no time": swap("t=2", "t=0"), "no threads": swap("p=1", "p=0"), "no memory": swap("m=65536", "m=0"),
		"too little memory": swap("m=65536", "m=7"), "much memory": swap("m=65536", "m=65537"),
		"all memory":         swap("m=65536", "m=4294967295"),
		"more than there is": swap("m=65536", "m=4294967296"), "much time": swap("t=2", "t=11"), "many threads": swap("p=1", "p=5"),
		"threads overflow": swap("p=1", "p=257"), "padded": swap("c29tZXNhbHQ", "c29tZXNhbHQ="), "url alphabet": swap("CTFh", "_-Fh"),
		"spare bits": swap("c29tZXNhbHQ", "c29tZXNhbHR"), "line in salt": swap("c29t", "c29\nt"), "no salt": swap("c29tZXNhbHQ", ""),
		"short salt": swap("c29tZXNhbHQ", b64(7)), "long salt": swap("c29tZXNhbHQ", b64(65)),
		"no key":    "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$",
		"short key": "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + b64(15),
		"long key":  "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + b64(65),
	} {
		_, err := parsePHC(bad)
		require.ErrorIs(t, err, errPHC, name)
	}
}

func FuzzPHC(f *testing.F) {
	f.Add(known)
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2id$v=19$m=+8,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parsePHC(s)
		if err == nil && (h.String() != s || !h.sane()) {
			t.Errorf("%q is read as %s", s, h)
		}
	})
}

// What others made opens, and what we make is what OWASP asks for.
func TestHashing(t *testing.T) {
	t.Parallel()
	h := newHasher()
	matches, err := h.matches(t.Context(), known, "password")
	require.NoError(t, err)
	require.True(t, matches)
	require.True(t, h.outdated(known))

	made, err := h.hash(t.Context(), good)
	require.NoError(t, err)
	require.Regexp(t, `^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`, made)
	require.False(t, h.outdated(made))
	for password, want := range map[string]bool{good: true, better: false, "": false, good + "\x00": false, good[1:]: false} {
		matches, err := h.matches(t.Context(), made, password)
		require.NoError(t, err)
		require.Equal(t, want, matches, "%q", password)
	}
	another, err := h.hash(t.Context(), good)
	require.NoError(t, err)
	require.NotEqual(t, made, another, "each has a salt of its own")

	for _, stored := range []string{"$", good, strings.Replace(known, "m=65536", "m=4294967295", 1)} {
		_, err = h.matches(t.Context(), stored, good)
		require.ErrorIs(t, err, errPHC)
		require.Contains(t, err.Error(), "(fix: ")
		require.NotContains(t, err.Error(), stored+" ")
	}
	matches, err = h.matches(t.Context(), "", "")
	require.NoError(t, err)
	require.False(t, matches, "no password is not the empty one")
}

// One keyboard composes letters, another does not.
func TestPasswordsAreNormalized(t *testing.T) {
	t.Parallel()
	h := newHasher()
	h.params = cheap()
	made, err := h.hash(t.Context(), "caf\u00e9 \ufb01ll\u00c5ngstrom")
	require.NoError(t, err)
	matches, err := h.matches(t.Context(), made, "cafe\u0301 fill\u212bngstrom")
	require.NoError(t, err)
	require.True(t, matches)
	matches, err = h.matches(t.Context(), made, "cafe fill\u00c5ngstrom")
	require.NoError(t, err)
	require.False(t, matches)
}

// However many sign in: two passwords are hashed at a time, and those who leave have none hashed.
func TestHashingIsBounded(t *testing.T) {
	t.Parallel()
	h := newHasher()
	h.params = cheap()
	var now, most, all atomic.Int64
	entered := make(chan struct{}, 100)
	goOn := make(chan struct{})
	h.derive = func(password string, p params, salt []byte, size int) []byte {
		if password == better {
			t.Error("hashed for those who left")
			return nil
		}
		all.Add(1)
		for n := now.Add(1); ; {
			seen := most.Load()
			if n <= seen || most.CompareAndSwap(seen, n) {
				break
			}
		}
		entered <- struct{}{}
		<-goOn
		now.Add(-1)
		return derive(password, p, salt, size)
	}
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan []error)
	stayed := make(chan []error)
	go func() {
		stayed <- race(6, func(int) error { _, err := h.hash(t.Context(), good); return err })
	}()
	<-entered
	<-entered
	go func() {
		left <- race(6, func(int) error { _, err := h.matches(ctx, "", better); return err })
	}()
	leave()
	for _, err := range <-left {
		require.ErrorIs(t, err, context.Canceled)
	}
	close(goOn)
	for _, err := range <-stayed {
		require.NoError(t, err)
	}
	require.EqualValues(t, 2, most.Load())
	require.EqualValues(t, 6, all.Load())
}

func BenchmarkHash(b *testing.B) {
	h := newHasher()
	for b.Loop() {
		if _, err := h.hash(b.Context(), good); err != nil {
			b.Fatal(err)
		}
	}
}

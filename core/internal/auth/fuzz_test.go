package auth

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// No text but the ones that were given out stands for anybody, and none is anything but good or bad.
func FuzzAuthenticate(f *testing.F) {
	w := onSQLite(f)
	s := w.replica(f)
	tokens := ada(f, s)
	service, _, err := s.Create(f.Context(), NewToken{TTL: day})
	require.NoError(f, err)
	good := map[string]bool{tokens.AccessToken: true, service: true}
	identity := someone()
	for _, seed := range []string{
		tokens.AccessToken, service, tokens.RefreshToken, mint(s, identity, "blog", "r"), "", "..", "pfd_", "a.b.c",
		forge(f, s, tokens.AccessToken, forgery{rawClaims: `{$inner,"sub":"u-bob"}`}),
		forge(f, s, tokens.AccessToken, forgery{header: map[string]any{"alg": "none"}, sign: "nobody"}),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		identity, err := s.Authenticate(t.Context(), text)
		if (err == nil) != good[text] {
			t.Fatalf("%q: %v, %v", text, identity, err)
		}
		if err != nil && (!errors.Is(err, ErrInvalidToken) || identity.Principal.ID != "") {
			t.Fatalf("%q: %v, %v", text, identity, err)
		}
		got, err := s.Refresh(t.Context(), text, "")
		if text != tokens.RefreshToken && (!errors.Is(err, ErrSessionEnded) || got != (Tokens{})) {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

// What is signed by us is still looked at as if it were not: the claims are whatever somebody wrote.
func FuzzClaims(f *testing.F) {
	s := onSQLite(f).replica(f)
	tokens := ada(f, s)
	for _, seed := range []string{
		`{$inner}`, `{"sub":"u-ada"}`, `{$inner,"exp":1e300}`, `{$inner,"a":[]}`, `null`, `{$inner} `, `{"aud":["platformd"]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, claims string) {
		if claims == "" {
			return
		}
		token := forge(t, s, tokens.AccessToken, forgery{rawClaims: claims})
		identity, err := s.Authenticate(t.Context(), token)
		if err == nil && (identity.Principal.ID != "u-ada" || identity.Session != tokens.Session) {
			t.Fatalf("%q: %v", claims, identity)
		}
		if err != nil && !errors.Is(err, ErrInvalidToken) {
			t.Fatalf("%q: %v", claims, err)
		}
	})
}

func FuzzReadTicket(f *testing.F) {
	s := onSQLite(f).replica(f)
	good := mint(s, someone(), "blog", "r")
	for _, seed := range []string{good, "", ticketPrefix, good[:40], good + "A", "pft_AQ"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, ticket string) {
		got, err := s.ReadTicket(t.Context(), ticket, "blog")
		if (err == nil) != (ticket == good) || err != nil && (!errors.Is(err, ErrInvalidTicket) || got.Principal.Kind != "") {
			t.Fatalf("%q: %v, %v", ticket, got, err)
		}
	})
}

// What a ticket holds is read whole, or not at all: no bytes make it panic, or take more memory than they are.
func FuzzTicketBody(f *testing.F) {
	f.Add(appendBody(nil, someone(), "blog", "r"))
	f.Add([]byte{0, 1, 'x', 0, 0, 0, 0, 0, 2})
	f.Add([]byte{0, 1, 'x', 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, audience, ok := readBody(raw)
		if !ok {
			return
		}
		if len(got.Permissions) > len(raw) || len(audience) > len(raw) {
			t.Fatalf("%x: %v", raw, got)
		}
	})
}

// A state cookie is the one that was sealed, or none.
func FuzzState(f *testing.F) {
	s := onSQLite(f).replica(f)
	good, err := s.seal(&state{Issuer: "acme", Expires: start.Unix() + 60})
	require.NoError(f, err)
	f.Add(good)
	f.Add("a.b")
	f.Fuzz(func(t *testing.T, cookie string) {
		st, err := s.unseal(t.Context(), cookie)
		if err != nil || (st != nil) != (cookie == good) {
			t.Fatalf("%q: %v, %v", cookie, st, err)
		}
	})
}

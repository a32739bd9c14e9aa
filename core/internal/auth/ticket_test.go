package auth

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
)

func someone() *Identity {
	return &Identity{
		Principal:   link.Principal{Kind: link.KindUser, ID: "018f3c2e-7a51-7c3e-9a51-0242ac120002", Name: "Ada"},
		Permissions: []string{"blog.*", "billing.plan.read"}, Session: "0123456789abcdef",
	}
}

// mint returns a ticket alone.
func mint(s *Service, who *Identity, audience, requestID string) string {
	ticket, _ := s.Mint(who, audience, requestID)
	return ticket
}

func TestATicketSaysWhatWasMinted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		here, there := w.replica(t), w.replica(t)
		for name, who := range map[string]*Identity{
			"bounded": someone(), "anonymous": {Principal: link.Anonymous()}, "a session": {Principal: someone().Principal},
			"nothing allowed": {Principal: someone().Principal, Permissions: []string{}},
			"odd texts": {
				Principal: link.Principal{Kind: "é", ID: "\x00", Name: strings.Repeat("n", 300)}, Permissions: []string{"", "*"},
			},
		} {
			ticket, expires := here.Mint(who, "blog", "request-1")
			require.Regexp(t, `^pft_[A-Za-z0-9_-]+$`, ticket)
			require.Equal(t, w.clock.now().Add(time.Minute), expires)
			for _, s := range []*Service{here, there} {
				got, err := s.ReadTicket(t.Context(), ticket, "blog")
				require.NoError(t, err, name)
				require.Equal(t, Ticket{Identity: *who, RequestID: "request-1", Expires: w.clock.now().Add(time.Minute)}, got, name)
			}
		}
	})
}

// nil and none are worlds apart: all that the user may, and nothing.
func TestATicketKeepsItsBounds(t *testing.T) {
	t.Parallel()
	s := onSQLite(t).replica(t)
	for _, permissions := range [][]string{nil, {}, {"a"}} {
		who := someone()
		who.Permissions = permissions
		got, err := s.ReadTicket(t.Context(), mint(s, who, "blog", ""), "blog")
		require.NoError(t, err)
		require.Equal(t, permissions == nil, got.Permissions == nil)
		require.Len(t, got.Permissions, len(permissions))
	}
}

func TestTheLargestTokenFitsIntoATicket(t *testing.T) {
	t.Parallel()
	s := onSQLite(t).replica(t)
	who := someone()
	who.Permissions = nil
	for range maxPermissions {
		who.Permissions = append(who.Permissions, strings.Repeat("p", maxPattern))
	}
	_, err := s.ReadTicket(t.Context(), mint(s, who, "blog", strings.Repeat("r", 128)), "blog")
	require.NoError(t, err)
}

func TestTicketsAreRefused(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	s := w.replica(t)
	stranger := onSQLite(t).replica(t)
	ticket := mint(s, someone(), "blog", "r")
	raw, err := base64.RawURLEncoding.DecodeString(ticket[len(ticketPrefix):])
	require.NoError(t, err)
	refused := func(ticket, audience, why string) {
		got, err := s.ReadTicket(t.Context(), ticket, audience)
		require.Equal(t, ErrInvalidTicket, err, why)
		require.Equal(t, Ticket{}, got, why)
	}
	for _, audience := range []string{"", "billing", "Blog", "blog ", "blo"} {
		refused(ticket, audience, "another audience")
	}
	for i := range raw { // no bit of it can be another one
		for bit := range 8 {
			changed := append([]byte{}, raw...)
			changed[i] ^= 1 << bit
			refused(ticketPrefix+base64.RawURLEncoding.EncodeToString(changed), "blog", "a bit")
		}
	}
	for n := range len(raw) {
		refused(ticketPrefix+base64.RawURLEncoding.EncodeToString(raw[:n]), "blog", "cut")
	}
	for name, bad := range map[string]string{
		"empty": "", "prefix": ticketPrefix, "no prefix": ticket[4:], "API token's prefix": prefix + ticket[4:], "padded": ticket + "=",
		"line break": ticket + "\n", "longer": ticket + "AAAA", "huge": ticketPrefix + strings.Repeat("AAAA", 1<<20),
		"of another installation": mint(stranger, someone(), "blog", "r"), "access token": ada(t, s).AccessToken,
	} {
		refused(bad, "blog", name)
	}
	w.clock.move(ticketTTL - time.Second)
	_, err = s.ReadTicket(t.Context(), ticket, "blog")
	require.NoError(t, err)
	w.clock.move(time.Second)
	refused(ticket, "blog", "a minute later")
}

func TestTicketsOutliveARotation(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	here, there := w.replica(t), w.replica(t)
	require.NoError(t, here.Rotate(t.Context()))
	for range 30 {
		ticket := mint(here, someone(), "blog", "r")
		late := mint(there, someone(), "blog", "r") // there nobody has read the new keys yet
		for _, s := range []*Service{here, there} {
			for _, t1 := range []string{ticket, late} {
				_, err := s.ReadTicket(t.Context(), t1, "blog")
				require.NoError(t, err)
			}
		}
		w.clock.move(20 * time.Second)
	}
}

// Not to know is another thing than to know that it is not.
func TestATicketThatCannotBeJudged(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	store := w.store(t)
	s := serve(t, store, Options{}, w.clock)
	known := mint(s, someone(), "blog", "r")
	unknown := mint(onSQLite(t).replica(t), someone(), "blog", "r")
	require.NoError(t, store.Close())
	w.clock.move(keyPause)
	got, err := s.ReadTicket(t.Context(), unknown, "blog")
	require.ErrorContains(t, err, "read the keys")
	require.NotErrorIs(t, err, ErrInvalidTicket)
	require.Equal(t, Ticket{}, got)
	_, err = s.ReadTicket(t.Context(), known, "blog")
	require.NoError(t, err, "tickets need no database")
}

// A ticket without its key would be one that anybody can make.
func TestNoKeyNoTicket(t *testing.T) {
	t.Parallel()
	s := onSQLite(t).replica(t)
	s.keys.set.Store(&keySet{})
	require.Empty(t, mint(s, someone(), "blog", "r"))
}

// A module that passes a ticket on must not make it last.
func TestADerivedTicketEndsWithTheFirst(t *testing.T) {
	t.Parallel()
	w := onSQLite(t)
	s := w.replica(t)
	first, err := s.ReadTicket(t.Context(), mint(s, someone(), "blog", "request-1"), "blog")
	require.NoError(t, err)
	w.clock.move(40 * time.Second)
	derived := s.Derive(&first, "billing")
	got, err := s.ReadTicket(t.Context(), derived, "billing")
	require.NoError(t, err)
	require.Equal(t, first, got)
	_, err = s.ReadTicket(t.Context(), derived, "blog")
	require.ErrorIs(t, err, ErrInvalidTicket)
	w.clock.move(20 * time.Second)
	_, err = s.ReadTicket(t.Context(), derived, "billing")
	require.ErrorIs(t, err, ErrInvalidTicket)
}

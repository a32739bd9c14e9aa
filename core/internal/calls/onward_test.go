package calls_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/wire"
)

// However long ago a ticket was made, what is made of it ends when it does: modules that call each other cannot make it last.
func TestTheCalleesTicketEndsWithTheCallers(t *testing.T) {
	w := newWorld(t)
	const age = 40 * time.Second
	read := w.auth.ReadTicket
	w.calls.Deps().ReadTicket = func(ctx context.Context, text, audience string) (auth.Ticket, error) {
		found, err := read(ctx, text, audience)
		found.Expires = found.Expires.Add(-age)
		return found, err
	}
	w.launch()
	conn := w.caller(blog())
	given := w.ticket("blog")
	first, err := w.auth.ReadTicket(t.Context(), given, "blog")
	require.NoError(t, err)
	text, err := invoke(to(t.Context(), "billing", wire.MetadataTicket, given), conn, getPlan, "metadata "+wire.MetadataTicket)
	require.NoError(t, err)
	onward, err := w.auth.ReadTicket(t.Context(), text, "billing")
	require.NoError(t, err)
	require.Equal(t, first.Expires.Add(-age), onward.Expires)
	require.Equal(t, first.Identity, onward.Identity, "with the bounds of the caller's")
	require.Equal(t, first.RequestID, onward.RequestID)
	_, err = w.auth.ReadTicket(t.Context(), text, "blog")
	require.ErrorIs(t, err, auth.ErrInvalidTicket, "it is the callee's alone")
}

// A call on nobody's behalf is the module's own: its ticket is a new one, and no one else's.
func TestTheTicketOfACallForNobody(t *testing.T) {
	w := newWorld(t)
	w.launch()
	text, err := invoke(to(t.Context(), "billing"), w.caller(blog()), getPlan, "metadata "+wire.MetadataTicket)
	require.NoError(t, err)
	onward, err := w.auth.ReadTicket(t.Context(), text, "billing")
	require.NoError(t, err)
	require.Equal(t, auth.Identity{Principal: link.Principal{Kind: link.KindModule, ID: "blog", Name: "blog"}}, onward.Identity)
}

// A method that the callee does not have any more does not fit the caller, which says more than that it is not there.
func TestAMethodThatIsGone(t *testing.T) {
	w := newWorld(t)
	w.calls.Deps().Fits = func(_, _, method string) error {
		if method == missing {
			return errors.New("blog was built to call another billing")
		}
		return nil
	}
	w.launch()
	conn := w.caller(blog())
	_, err := invoke(to(t.Context(), "billing"), conn, missing, "")
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	require.ErrorContains(t, err, "another billing")
	_, err = invoke(to(t.Context(), "billing"), conn, getPlan, "x")
	require.NoError(t, err)
}

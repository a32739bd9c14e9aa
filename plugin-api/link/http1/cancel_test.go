package http1

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKilledModuleCutsTheBody(t *testing.T) {
	t.Parallel()
	rig := scriptModule(t, func(c *peer, _ *http.Request) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", 100<<10))
	})
	res := rig.Start(http.MethodGet, "/", nil)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.NotEmpty(t, body)
	require.ErrorIs(t, rig.Abort(), io.ErrUnexpectedEOF)
}

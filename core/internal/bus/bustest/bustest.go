// Package bustest is what every bus must pass: each sentence of package bus has a test here.
//
// It is for tests only; it must not be used by the product.
package bustest

import (
	"testing"
	"time"

	"github.com/platformd/platformd/core/internal/bus"
)

// Suite is one kind of bus. Whoever runs it verifies in TestMain, with goleak, that closed and killed buses leave nothing behind.
type Suite struct {
	// Open makes an empty place for the length of the test, such as a database, or a prefix on a broker, and returns how daemons
	// open their bus there: each call is one more daemon's. The suite closes them, before the place goes.
	Open func(t testing.TB) func() bus.Bus
	// Kill ends a bus as kill -9 ends its daemon, as far as others can see: from when it returns, no verdict of a handler has an
	// effect any more, nothing new is handed out, nothing is given back in order, and what was under way comes again within
	// seconds. Calls of its methods end soon, with whatever result, but for handlers that run; so does Close, later.
	Kill func(b bus.Bus)
}

// patience bounds every wait for what must come, on a machine that does much else.
const patience = 60 * time.Second

// Run tests a bus.
func Run(t *testing.T, s Suite) {
	t.Helper()
	groups := []map[string]func(*place){
		publishing(), consuming(), failing(), ordering(), declaring(), watching(), ending(), forgetting(),
	}
	for _, group := range groups {
		for name, test := range group {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(&place{T: t, kill: s.Kill, open: s.Open(t)})
			})
		}
	}
}

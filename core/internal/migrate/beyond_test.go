package migrate

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/ledger"
)

// TestWhatAFailedVersionHasAppliedIsNoObstacle to the one before; what nobody knows is, and so is what is missing in between.
func TestWhatAFailedVersionHasAppliedIsNoObstacle(t *testing.T) {
	t.Parallel()
	m := &Module{Name: "blog", Declared: []ledger.Declared{{ID: "0001_a"}, {ID: "0002_b"}}, Beyond: []string{"0003_c", "0004_d"}}
	for _, c := range []struct{ applied, left []string }{
		{[]string{"0001_a"}, []string{"0001_a"}},
		{[]string{"0001_a", "0002_b", "0003_c", "0004_d"}, []string{"0001_a", "0002_b"}},
		{[]string{"0001_a", "0002_b", "0003_x"}, []string{"0001_a", "0002_b", "0003_x"}},
		{[]string{"0001_a", "0002_b", "0003_x", "0004_d"}, []string{"0001_a", "0002_b", "0003_x"}},
	} {
		var rows []ledger.Row
		for _, id := range c.applied {
			rows = append(rows, ledger.Row{ID: id})
		}
		require.Equal(t, c.left, ledger.IDs(m.within(rows)))
	}
}

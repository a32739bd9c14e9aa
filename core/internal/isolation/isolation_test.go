package isolation

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLimitsAreToldInTheEnvironment(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"GOMAXPROCS=1", "GOMEMLIMIT=241591910", "GOGC=400"}, Limits{Memory: 256 << 20, CPU: 1}.Environment())
	require.Equal(t, []string{"GOMAXPROCS=3"}, Limits{CPU: 2.1}.Environment())
	require.Equal(t, []string{"GOMAXPROCS=1"}, Limits{}.Environment(), "without a limit many share the machine")
}

func TestNoneSaysWhatItMeans(t *testing.T) {
	t.Parallel()
	require.Equal(t, "none: modules are trusted", None.String())
	require.Equal(t, "full", Full.String())
}

package bus

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestVerdicts(t *testing.T) {
	t.Parallel()
	require.Equal(t, Verdict{}, Ack())
	why := Failure{Reason: "r", Error: "e"}
	v := Retry(time.Second, why)
	require.Equal(t, Retried, v.Fate())
	require.Equal(t, time.Second, v.After())
	require.Equal(t, why, v.Why())
	require.Equal(t, Died, Dead(why).Fate())
	require.Equal(t, Released, Release().Fate())
	for fate, name := range map[Fate]string{Acked: "acked", Retried: "retried", Died: "died", Released: "released", 9: "unknown"} {
		require.Equal(t, name, fate.String())
	}
}

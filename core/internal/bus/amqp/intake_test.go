package amqp

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The broker is told once of each delivery that is done with: of all up to one of them by one word, and of those behind one that
// is not done with by a word each.
func TestWhatTheBrokerIsToldTogether(t *testing.T) {
	t.Parallel()
	in := newIntake(nil, nil)
	for tag := range uint64(8) {
		in.came(tag + 1)
	}
	var untold []uint64
	take := func(done ...uint64) (upTo uint64, single []uint64) {
		for _, tag := range done {
			in.done[tag] = func() { untold = append(untold, tag) }
		}
		for _, w := range in.take() {
			if w.andBefore {
				upTo = w.tag
			} else {
				single = append(single, w.tag)
			}
			for _, tell := range w.untold {
				tell()
			}
		}
		return upTo, single
	}
	upTo, single := take(2, 5, 4)
	require.Zero(t, upTo)
	require.Equal(t, []uint64{2, 4, 5}, single)
	require.True(t, in.telling)
	upTo, single = take(3, 1, 7)
	require.EqualValues(t, 3, upTo, "the broker knows of 4 and 5, and would take neither again")
	require.Equal(t, []uint64{7}, single)
	upTo, single = take(6, 8)
	require.EqualValues(t, 8, upTo)
	require.Empty(t, single)
	upTo, single = take()
	require.Zero(t, upTo)
	require.Empty(t, single)
	require.False(t, in.telling)
	require.Empty(t, in.open)
	require.ElementsMatch(t, []uint64{1, 2, 3, 4, 5, 6, 7, 8}, untold)
}

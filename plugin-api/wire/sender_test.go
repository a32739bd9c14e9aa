package wire

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// What comes while something is being sent goes together, in the order in which it came, and no more of it than fits.
func TestWhatComesMeanwhileIsSentTogether(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan struct{}, 10), make(chan struct{})
	var sent [][]int
	s := NewSender(func(batch []int) {
		began <- struct{}{}
		<-goOn
		sent = append(sent, batch)
	})
	first := make(chan struct{})
	go func() { defer close(first); s.Add(0) }()
	<-began
	for i := range together + 1 {
		s.Add(i + 1) // does not wait
	}
	goOn <- struct{}{}
	<-first // nor is the first one kept for the others
	close(goOn)
	s.Wait()
	require.Len(t, sent, 3)
	require.Equal(t, []int{0}, sent[0])
	require.Len(t, sent[1], together)
	require.Equal(t, []int{together + 1}, sent[2])
	require.Equal(t, 1, sent[1][0])
	s.Add(7)
	require.Equal(t, []int{7}, sent[3], "a lone one is sent by whoever adds it")
}

func TestEverythingIsSentOnce(t *testing.T) {
	t.Parallel()
	const adding, each = 8, 1000
	sent, running := map[int]int{}, 0
	s := NewSender(func(batch []int) {
		running++
		defer func() { running-- }()
		if running > 1 {
			t.Error("two are sending")
		}
		for _, one := range batch {
			sent[one]++
		}
	})
	var all sync.WaitGroup
	for a := range adding {
		all.Go(func() {
			for i := range each {
				s.Add(a*each + i)
			}
		})
	}
	all.Wait()
	s.Wait()
	require.Len(t, sent, adding*each)
	for one, times := range sent {
		require.Equal(t, 1, times, one)
	}
}

package mux

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

// TestCreditModel drives thousands of random schedules of a sender and a receiver: no more than the window is ever under way,
// everything arrives, and a cancel ends every wait. In a bubble, a schedule that blocks for ever is a failure at once.
func TestCreditModel(t *testing.T) {
	for seed := range uint64(2000) {
		synctest.Test(t, func(t *testing.T) { creditSchedule(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func creditSchedule(t *testing.T, random *rand.Rand) {
	var account credit
	account.bytes, account.more = window, make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	total := random.IntN(10 * window)
	receiver := rand.New(rand.NewPCG(random.Uint64(), 2)) // the sender keeps random
	sent := make(chan int, 10*window)
	ended := make(chan error, 1)
	go func() {
		defer close(sent)
		for left := total; left > 0; {
			n, err := account.take(ctx, min(left, 1+random.IntN(maxSmall)), time.Time{})
			if err != nil {
				ended <- err
				return
			}
			sent <- n
			left -= n
		}
		ended <- nil
	}()
	cancelAt := -1
	if receiver.IntN(4) == 0 {
		cancelAt = receiver.IntN(total + 1)
	}
	taken, credited := 0, 0
	for cancelAt < 0 || taken < cancelAt {
		synctest.Wait() // the sender goes as far as it may
		n, ok := <-sent
		if !ok {
			break
		}
		taken += n
		require.LessOrEqual(t, taken-credited, window)
		if owed := taken - credited; receiver.IntN(3) == 0 || owed >= window/2 {
			account.add(owed)
			credited = taken
		}
	}
	if cancelAt >= 0 {
		cancel()
		if err := <-ended; err != nil { // it may have sent everything before
			require.ErrorIs(t, err, context.Canceled)
		}
		return
	}
	require.NoError(t, <-ended)
	require.Equal(t, total, taken)
}

// TestFlowModel drives the whole server half: random writes, flushes and cancels at many handlers at once, against a core
// that takes and grants at random.
func TestFlowModel(t *testing.T) {
	t.Parallel()
	const schedules, atOnce = 300, 8
	var running sync.WaitGroup
	_, dial := actedCore(t, func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Done()
		seed, err := strconv.ParseUint(r.URL.Path[1:], 10, 64)
		if err != nil {
			t.Error(err)
		}
		for _, piece := range scheduleOf(seed) {
			if _, err := w.Write(piece); err != nil {
				return
			}
			if http.NewResponseController(w).Flush() != nil {
				return
			}
		}
	})
	core := &modelCore{t: t, peer: dial(preface{role: roleFrames}), random: rand.New(rand.NewPCG(1, 3))}
	core.open = map[uint32]*modelAnswer{}
	for seed := uint64(1); seed <= schedules || len(core.open) > 0; {
		if seed <= schedules && len(core.open) < atOnce {
			core.begin(seed)
			seed++
			continue
		}
		core.step()
	}
	running.Wait()
}

// scheduleOf returns what a handler writes, each piece followed by a flush.
func scheduleOf(seed uint64) [][]byte {
	random := rand.New(rand.NewPCG(seed, 4))
	pieces := make([][]byte, random.IntN(30))
	for i := range pieces {
		pieces[i] = make([]byte, random.IntN([]int{2, 100, maxSmall}[random.IntN(3)]))
		for j := range pieces[i] {
			pieces[i][j] = byte(random.Uint32())
		}
	}
	return pieces
}

// modelCore is a core that notes what it is sent and what it owes.
type modelCore struct {
	t      *testing.T
	peer   *peer
	random *rand.Rand
	open   map[uint32]*modelAnswer
}

type modelAnswer struct {
	want, got   []byte
	outstanding int // what was sent and not credited yet
	cancelAt    int // in bytes; -1: never
	cancelled   bool
}

func (c *modelCore) begin(seed uint64) {
	a := &modelAnswer{want: bytes.Join(scheduleOf(seed), nil), cancelAt: -1}
	if c.random.IntN(4) == 0 {
		a.cancelAt = c.random.IntN(len(a.want) + 1)
	}
	c.open[uint32(seed)] = a
	c.peer.say(kindRequest, 0, uint32(seed), request(c.t, http.MethodGet, fmt.Sprint("/", seed)))
}

// step takes one frame, and perhaps grants credit for what it holds.
func (c *modelCore) step() {
	require.NoError(c.t, c.peer.SetDeadline(time.Now().Add(linktest.Patience)))
	f, err := c.peer.frames.next()
	require.NoError(c.t, err)
	a := c.open[f.id]
	require.NotNil(c.t, a, "a frame of %d behind its end", f.id)
	body := f.payload
	switch f.kind {
	case kindHead:
		_, body, err = splitHead(body)
		require.NoError(c.t, err)
	case kindData:
	case kindAbort:
		require.True(c.t, a.cancelled, "only what is cancelled may break off")
	default:
		c.t.Fatalf("frame of kind %d", f.kind)
	}
	a.outstanding += len(body)
	require.LessOrEqual(c.t, a.outstanding, window)
	require.True(c.t, bytes.HasPrefix(a.want[min(len(a.got), len(a.want)):], body), "in order, and once")
	a.got = append(a.got, body...)
	if f.flags&flagEnd != 0 {
		require.True(c.t, f.kind == kindAbort || bytes.Equal(a.want, a.got), "an end before the end")
		delete(c.open, f.id)
		return
	}
	if a.cancelAt >= 0 && len(a.got) >= a.cancelAt && !a.cancelled {
		a.cancelled = true
		c.peer.say(kindCancel, 0, f.id, nil)
	}
	if !a.cancelled && (a.outstanding >= window/2 || c.random.IntN(4) == 0) {
		c.peer.say(kindCredit, 0, f.id, binary.BigEndian.AppendUint32(nil, uint32(a.outstanding)))
		a.outstanding = 0
	}
}

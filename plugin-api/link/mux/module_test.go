package mux

import (
	"encoding/binary"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

// A module that does not keep to the protocol hurts the exchange that it answers, and no other one unless the link itself
// can no longer be read.
func TestModuleThatMisbehaves(t *testing.T) {
	t.Parallel()
	for name, test := range misbehaviours() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig, accept := actedModule(t)
			other := make(chan string, 1)
			go func() { other <- outcome(rig) }()
			p, _ := accept()
			bystander := p.next(kindRequest)
			got := make(chan string, 1)
			go func() { got <- outcome(rig) }()
			victim := p.next(kindRequest)
			test.act(p, victim.id)
			require.Contains(t, strings.Split(test.want, "|"), <-got)
			p.say(kindHead, flagEnd, bystander.id, append(head(200, 2), "ok"...))
			if test.fatal {
				require.Equal(t, "502 ", <-other)
				p.hungUp()
			} else {
				require.Equal(t, "200 ok", <-other)
			}
		})
	}
}

// misbehaviour is what a module does with an exchange, what its client then sees (one of several, if there are bars), and
// whether the link must end.
type misbehaviour struct {
	act   func(p *peer, id uint32)
	want  string
	fatal bool
}

func misbehaviours() map[string]misbehaviour {
	all := map[string]misbehaviour{}
	for _, some := range []map[string]misbehaviour{oddSequences(), oddHeads(), oddSides(), brokenFrames()} {
		for name, m := range some {
			all[name] = m
		}
	}
	return all
}

func oddSequences() map[string]misbehaviour {
	says := func(want string, frames ...frame) misbehaviour {
		return misbehaviour{want: want, act: func(p *peer, id uint32) {
			for _, f := range frames {
				p.say(f.kind, f.flags, id, f.payload)
			}
		}}
	}
	begun := frame{kind: kindHead, payload: append(head(200, -1), "x"...)}
	last := frame{kind: kindTrailers, flags: flagEnd, payload: []byte{0}}
	fine := frame{kind: kindHead, flags: flagEnd, payload: append(head(200, 4), "fine"...)}
	return map[string]misbehaviour{
		"a body before its head":   says("502 ", frame{kind: kindData, payload: []byte("x")}),
		"trailers before the head": says("502 ", last),
		"two heads":                says("cut", begun, begun),
		"two heads at once":        says("cut", begun, fine),
		"trailers that are none":   says("cut", begun, frame{kind: kindTrailers, flags: flagEnd, payload: []byte{9}}),
		"trailers with more":       says("cut", begun, frame{kind: kindTrailers, flags: flagEnd, payload: []byte{0, 0}}),
		"trailers twice":           says("200 x", begun, last, last),
		"data behind the end":      says("200 fine", fine, frame{kind: kindData, payload: []byte("x")}),
		"a head behind the end":    says("200 fine", fine, fine),
		"an abort behind the end":  says("200 fine", fine, frame{kind: kindAbort, flags: flagEnd}),
		"an abort":                 says("502 ", frame{kind: kindAbort}),
		"an abort in the body":     says("cut", begun, frame{kind: kindAbort}),
		"a side without an id":     says("cut", frame{kind: kindHead, flags: flagSide, payload: head(200, -1)}),
		"more than it declared": says("cut", frame{kind: kindHead, payload: head(200, 1)},
			frame{kind: kindData, payload: []byte("xy")}),
		"less than it declared": says("cut", frame{kind: kindHead, flags: flagEnd, payload: head(200, 1)}),
		"hints without an answer": says("502 ", frame{kind: kindHead, payload: head(103, -1, "Link", "x")},
			frame{kind: kindAbort}),
		"a body behind a hint": says("502 ", frame{kind: kindHead, payload: head(103, -1)},
			frame{kind: kindData, payload: []byte("x")}),
		"more than its credit": {want: "cut|502 ", act: func(p *peer, id uint32) {
			p.say(begun.kind, 0, id, begun.payload)
			for range 100 {
				p.say(kindData, 0, id, make([]byte, 200<<10))
			}
			p.say(kindAbort, flagEnd, id, nil)
		}},
		"frames for nobody": {want: "200 fine", act: func(p *peer, id uint32) {
			for _, k := range []kind{kindHead, kindData, kindTrailers, kindAbort, kindSideWanted} {
				p.say(k, flagEnd, id+1000, nil)
			}
			p.say(kindHead, flagEnd, id, fine.payload)
		}},
	}
}

func oddHeads() map[string]misbehaviour {
	all := map[string]misbehaviour{}
	for name, payload := range map[string][]byte{
		"nothing at all":              {},
		"half of its length":          {0, 0},
		"more than there is":          {0, 0, 1, 0, 'x'},
		"too large":                   append(number(maxHead+1), make([]byte, maxHead+1)...),
		"headers over 64 KiB":         head(200, -1, "X", strings.Repeat("a", maxHead)),
		"a text that is cut":          append(number(4), 200, 1, 0, 1),
		"a number without an end":     append(number(12), "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"...),
		"status 0":                    head(0, -1),
		"status 99":                   head(99, -1),
		"status 101":                  head(http.StatusSwitchingProtocols, -1, "Upgrade", "x"),
		"status 600":                  head(600, -1),
		"status 1000":                 head(1000, -1),
		"a length over 63 bits":       head(200, -2),
		"a break in a value":          head(200, -1, "X", "a\r\nSet-Cookie: b"),
		"NUL in a value":              head(200, -1, "X", "a\x00b"),
		"a break in a name":           head(200, -1, "X: a\r\nY", "b"),
		"a space in a name":           head(200, -1, "X Y", "b"),
		"no name":                     head(200, -1, "", "b"),
		"a thousand million headers":  append(number(7), 0xc8, 1, 0, 0x80, 0x94, 0xeb, 0xdc, 3),
		"fewer headers than it says":  append(number(5), 0xc8, 1, 0, 2, 0),
		"something behind its fields": append(number(5), 0xc8, 1, 0, 0, 0),
	} {
		all["head: "+name] = misbehaviour{want: "502 ", act: func(p *peer, id uint32) { p.say(kindHead, flagEnd, id, payload) }}
	}
	return all
}

func oddSides() map[string]misbehaviour {
	named := func(id uint32, behind string) []byte { return append(append(head(200, -1), number(id)...), behind...) }
	return map[string]misbehaviour{
		"a side that is not there": {want: "cut", act: func(p *peer, id uint32) { p.say(kindHead, flagSide, id, named(7, "")) }},
		"a side of id 0":           {want: "cut", act: func(p *peer, id uint32) { p.say(kindHead, flagSide, id, named(0, "")) }},
		"half an id": {want: "cut", act: func(p *peer, id uint32) {
			p.say(kindHead, flagSide, id, append(head(200, -1), 0, 0))
		}},
		"a side before the head": {want: "502 ", act: func(p *peer, id uint32) { p.say(kindData, flagSide, id, number(1)) }},
	}
}

func brokenFrames() map[string]misbehaviour {
	kinds := map[string]kind{"no kind": 0, "a request": kindRequest, "a cancel": kindCancel, "a credit": kindCredit,
		"a free side": kindSideFree, "a kind of the future": 99}
	all := map[string]misbehaviour{
		"a huge frame": {want: "502 ", fatal: true, act: func(p *peer, _ uint32) {
			_, _ = p.Write(append(number(1<<31), make([]byte, 6)...))
		}},
		"half a frame": {want: "502 ", fatal: true, act: func(p *peer, _ uint32) { _, _ = p.Write(number(100)); _ = p.CloseWrite() }},
		"the end":      {want: "502 ", fatal: true, act: func(p *peer, _ uint32) { _ = p.CloseWrite() }},
	}
	for name, k := range kinds {
		all[name] = misbehaviour{want: "502 ", fatal: true, act: func(p *peer, id uint32) { p.say(k, 0, id, nil) }}
	}
	return all
}

// sideOf answers the next request with a head whose body goes to a side connection that is made for it.
func sideOf(t *testing.T, p *peer, accept func() (*peer, preface), length int64) (*peer, frame) {
	t.Helper()
	f := p.next(kindRequest)
	p.say(kindSideWanted, 0, f.id, nil)
	side, greeting := accept()
	require.Equal(t, roleSide, greeting.role)
	require.Equal(t, f.id, greeting.exchange)
	p.say(kindHead, flagSide, f.id, append(head(200, length), number(greeting.side)...))
	return side, f
}

func TestSideConnectionThatMisbehaves(t *testing.T) {
	t.Parallel()
	chunk := func(text string) []byte { return append(number(uint32(len(text))), text...) }
	for name, test := range map[string]struct {
		bytes []byte
		want  string
	}{
		"well":                       {append(chunk("hello"), 0x80, 0, 0, 1, 0), "200 hello"},
		"empty chunks":               {append(append(chunk(""), chunk("x")...), 0x80, 0, 0, 1, 0), "200 x"},
		"nothing":                    {nil, "cut"},
		"half a header":              {[]byte{0, 0}, "cut"},
		"half a chunk":               {chunk("hello")[:6], "cut"},
		"no end":                     {chunk("hello"), "cut"},
		"half of the end":            {append(chunk("hello"), 0x80, 0, 0, 2, 0), "cut"},
		"bad trailers":               {append(chunk("hello"), 0x80, 0, 0, 1, 7), "cut"},
		"no trailers, not even none": {append(chunk("hello"), 0x80, 0, 0, 0), "cut"},
		"trailers over 64 KiB":       {append(chunk("hello"), 0x80, 2, 0, 0, 0), "cut"},
		"more behind the end":        {append(chunk("hello"), 0x80, 0, 0, 1, 0, 0), "cut"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig, accept := actedModule(t)
			got := make(chan string, 1)
			go func() { got <- outcome(rig) }()
			p, _ := accept()
			side, _ := sideOf(t, p, accept, -1)
			_, _ = side.Write(test.bytes)
			_ = side.CloseWrite()
			require.Equal(t, test.want, <-got)
			go func() { got <- outcome(rig) }()
			for {
				f, err := p.frames.next()
				require.NoError(t, err)
				if f.kind == kindRequest {
					p.say(kindHead, flagEnd, f.id, append(head(200, 2), "ok"...))
					break
				}
			}
			require.Equal(t, "200 ok", <-got, "the link lives on")
		})
	}
}

func TestSideConnectionThatIsBusy(t *testing.T) {
	t.Parallel()
	rig, accept := actedModule(t)
	first, second := make(chan string, 1), make(chan string, 1)
	go func() { first <- outcome(rig) }()
	p, _ := accept()
	f := p.next(kindRequest)
	p.say(kindSideWanted, 0, f.id, nil)
	side, greeting := accept()
	p.say(kindHead, flagSide, f.id, append(head(200, -1), number(greeting.side)...))
	_, err := side.Write(append(number(5), "hello"...))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		client, ok := rig.Client.(*Client)
		require.True(t, ok)
		client.sides.mu.Lock()
		defer client.sides.mu.Unlock()
		return client.sides.byID[greeting.side].busy
	}, linktest.Patience, 1e6)
	go func() { second <- outcome(rig) }()
	f = p.next(kindRequest)
	p.say(kindHead, flagSide, f.id, append(head(200, -1), number(greeting.side)...))
	require.Equal(t, "cut", <-second)
	_, err = side.Write([]byte{0x80, 0, 0, 1, 0})
	require.NoError(t, err)
	require.Equal(t, "200 hello", <-first, "it has nothing to do with it")
}

func TestRefusedRequestHasNotBeenSeen(t *testing.T) {
	t.Parallel()
	rig, accept := actedModule(t)
	got := make(chan string, 1)
	go func() { got <- outcome(rig) }()
	p, _ := accept()
	p.say(kindAbort, flagUntouched, p.next(kindRequest).id, nil)
	require.Equal(t, "502 ", <-got)
	var failed *link.ExchangeError
	require.ErrorAs(t, rig.Result(), &failed)
	require.False(t, failed.Reached)
}

// Credits are given for what a client took, and for no more than that.
func TestCreditsOfTheCore(t *testing.T) {
	t.Parallel()
	rig, accept := actedModule(t)
	got := make(chan string, 1)
	go func() { got <- outcome(rig) }()
	p, _ := accept()
	f := p.next(kindRequest)
	p.say(kindHead, 0, f.id, head(200, -1))
	sent, credited := 0, 0
	for range 50 {
		for sent-credited < window {
			p.say(kindData, 0, f.id, make([]byte, 1<<10))
			sent += 1 << 10
		}
		credit := p.next(kindCredit)
		require.Len(t, credit.payload, 4)
		credited += int(binary.BigEndian.Uint32(credit.payload))
		require.LessOrEqual(t, credited, sent)
	}
	p.say(kindData, flagEnd, f.id, nil)
	require.Len(t, <-got, len("200 ")+sent)
}

// A peer may send its whole window a byte at a time: that is odd, but within its credit.
func TestManyTinyFrames(t *testing.T) {
	t.Parallel()
	rig, accept := actedModule(t)
	got := make(chan string, 1)
	go func() { got <- outcome(rig) }()
	p, _ := accept()
	f := p.next(kindRequest)
	frames := appendFrame(nil, frame{kind: kindHead, id: f.id, payload: head(200, -1)})
	for range window {
		frames = appendFrame(frames, frame{kind: kindData, id: f.id, payload: []byte("x")})
	}
	frames = appendFrame(frames, frame{kind: kindData, flags: flagEnd, id: f.id})
	_, err := p.Write(frames)
	require.NoError(t, err)
	require.Len(t, <-got, len("200 ")+window)
}

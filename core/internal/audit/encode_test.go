package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
)

// golden is a row whose hash must stay what it is for as long as there are rows of version 1.
func golden() row {
	e := Entry{
		Actor: link.Principal{Kind: "user", ID: "0198c0de-0000-7000-8000-000000000001", Name: "ada@example.com"}, Via: "blog",
		Action: "post.create", Resource: "blog/post/42 é", Outcome: Allowed, RequestID: "req-1",
		TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", Address: "2001:db8::1", Details: json.RawMessage(`{ "title": "<é>" }`),
	}
	r := e.clean()
	r.At = time.Date(2026, 5, 1, 12, 0, 0, 123456000, time.UTC).UnixMicro()
	return r
}

const (
	goldenFirst  = "f4c6256d252ec1b48810762bfe856769a15b7c7a2e6387d3a8a37f95c7d82396"
	goldenSecond = "98d5a23e3eefe690e38111c42273ea38d3eb891cb7cac4d6aaa808c23dc6f999"
	goldenAnchor = "eb9fd574263a72fab41862dbd34ed9ddd0a80cb0613ba07b4919f8be8b7c133d"
)

func TestGoldenVector(t *testing.T) {
	t.Parallel()
	first, second := golden(), golden()
	first.follow(0, make([]byte, 32))
	second.At = -1
	second.follow(first.Seq, first.Hash)
	require.Equal(t, goldenFirst, hex.EncodeToString(first.Hash))
	require.Equal(t, goldenSecond, hex.EncodeToString(second.Hash))
	a := anchor{N: 1, Seq: 2, Hash: second.Hash, At: 7}
	require.Equal(t, goldenAnchor, hex.EncodeToString(a.link(make([]byte, 32))))
}

// decode reads what encode wrote. That there is a decoder is why no two rows are encoded alike.
func decode(t *testing.T, raw []byte) row {
	t.Helper()
	var list [][]byte
	for len(raw) > 0 {
		size := binary.BigEndian.Uint32(raw)
		list, raw = append(list, raw[4:4+size]), raw[4+size:]
	}
	require.Len(t, list, 16)
	require.Equal(t, label, string(list[0]))
	r := row{PrevHash: list[1], Seq: int64(binary.BigEndian.Uint64(list[2])), At: int64(binary.BigEndian.Uint64(list[3]))}
	for i, field := range []*string{
		&r.ActorKind, &r.ActorID, &r.ActorName, &r.Via, &r.Action, &r.Resource, &r.Outcome, &r.RequestID, &r.TraceID, &r.Address,
		&r.Details, &r.Cleaned,
	} {
		*field = string(list[4+i])
	}
	return r
}

// texts are what fields are made of here: short, so that different rows look alike once they stand in a row.
func texts(random *rand.Rand) string {
	parts := []string{"", "a", "b", "ab", "\x00", "\x00\x00\x00\x01", "\x00\x00\x00\x01a", ",", "|", "é"}
	return parts[random.IntN(len(parts))] + parts[random.IntN(len(parts))]
}

func randomRow(random *rand.Rand) row {
	r := row{Seq: random.Int64N(3), At: random.Int64N(3) - 1, PrevHash: make([]byte, 32)}
	r.PrevHash[random.IntN(32)] = byte(random.IntN(2))
	value := reflect.ValueOf(&r).Elem()
	for i := range value.NumField() {
		if field := value.Field(i); field.Kind() == reflect.String {
			field.SetString(texts(random))
		}
	}
	return r
}

func TestNoTwoRowsAreEncodedAlike(t *testing.T) {
	t.Parallel()
	random := random(t)
	seen := make(map[string]row)
	for range 100_000 {
		r := randomRow(random)
		raw := r.encode()
		require.Equal(t, r, decode(t, raw), "nothing is lost")
		if other, again := seen[string(raw)]; again {
			require.Equal(t, other, r)
		}
		seen[string(raw)] = r
	}
}

// Every column is part of the hash.
func TestEveryFieldCounts(t *testing.T) {
	t.Parallel()
	whole := golden()
	whole.follow(4, make([]byte, 32))
	for i := range reflect.TypeFor[row]().NumField() {
		name := reflect.TypeFor[row]().Field(i).Name
		changed := whole
		switch field := reflect.ValueOf(&changed).Elem().Field(i); field.Kind() {
		case reflect.String:
			field.SetString(field.String() + "x")
		case reflect.Int64, reflect.Int:
			field.SetInt(field.Int() + 1)
		default:
			field.SetBytes(append(bytes.Clone(field.Bytes()), 0))
		}
		require.False(t, changed.intact(), name)
	}
	require.True(t, whole.intact())
}

// A reader of an export can check it with nothing but what encode's comment says.
func TestAnExportCanBeCheckedElsewhere(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := p.service(t)
		write(t, s, 1200)
		for _, details := range []string{"{\"a\":\"\u202e\U000e0001\x7f\\u0000\"}", `{"b":1.50,"c":[1, 2 ]}`, "no JSON <&>\xff"} {
			require.NoError(t, s.Write(t.Context(), Entry{Action: "a", Details: json.RawMessage(details)}))
		}
		var out bytes.Buffer
		require.NoError(t, s.Export(t.Context(), &out, Filter{OldestFirst: true}))
		prev := strings.Repeat("0", 64)
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		require.Len(t, lines, 1203)
		for _, line := range lines {
			var row Row
			require.NoError(t, json.Unmarshal([]byte(line), &row))
			require.Equal(t, prev, row.PrevHash.String())
			sum := sha256.New()
			put := func(field string) {
				require.NoError(t, binary.Write(sum, binary.BigEndian, uint32(len(field))))
				sum.Write([]byte(field))
			}
			seq, at := make([]byte, 8), make([]byte, 8)
			binary.BigEndian.PutUint64(seq, uint64(row.Seq))
			binary.BigEndian.PutUint64(at, uint64(row.At.UnixMicro()))
			for _, field := range []string{
				"platformd.audit.row.v1", string(row.PrevHash[:]), string(seq), string(at), row.Actor.Kind, row.Actor.ID,
				row.Actor.Name, row.Via, row.Action, row.Resource, string(row.Outcome), row.RequestID, row.TraceID, row.Address,
				string(row.Details), strings.Join(row.Cleaned, ","),
			} {
				put(field)
			}
			prev = hex.EncodeToString(sum.Sum(nil))
			require.Equal(t, prev, row.Hash.String())
		}
		out.Reset()
		require.NoError(t, s.Export(t.Context(), &out, Filter{Limit: 1100, Action: "post."}))
		require.Equal(t, 1100, strings.Count(out.String(), "\n"))
		require.Error(t, s.Export(t.Context(), &out, Filter{Limit: -1}))
	})
}

func TestCleaning(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 300)
	for name, test := range map[string]struct{ in, want string }{
		"as it is":        {"Ada <ada@example.com> 日本", "Ada <ada@example.com> 日本"},
		"line break":      {"a\nb", "a\ufffdb"},
		"terminal escape": {"a\x1b[31m", "a\ufffd[31m"},
		"right to left":   {"a\u202eb", "a\ufffdb"},
		"zero":            {"a\x00b", "a\ufffdb"},
		"not UTF-8":       {"a\xff\xfeb", "a\ufffd\ufffdb"},
		"half a letter":   {"a\xc3", "a\ufffd"},
		"long":            {long, long[:196] + "…"},
		"exactly":         {long[:200], long[:200]},
	} {
		r := Entry{Actor: link.Principal{Kind: "user", Name: test.in}, Action: "a", Outcome: Done}.clean()
		require.Equal(t, test.want, r.ActorName, name)
		want := "actor_name"
		if test.in == test.want {
			want = ""
		}
		require.Equal(t, want, r.Cleaned, name)
	}
}

func TestCleaningDetails(t *testing.T) {
	t.Parallel()
	x := strings.Repeat("x", maxText)
	fits := `{"a":"` + strings.Repeat("x", maxDetails-8) + `"}`
	for name, test := range map[string]struct {
		in, want string
		marked   bool
	}{
		"none":           {"", `{}`, false},
		"spaces":         {"{ \"a\" :\n[1, 2] }", `{"a":[1,2]}`, false},
		"as long as can": {fits, fits, false},
		"too long":       {`{"a":"` + strings.Repeat("x", 9000) + `"}`, `{"text":"{\"a\":\"` + x[:maxText-9] + `…"}`, true},
		"huge":           {strings.Repeat("x", maxRaw+1), `{"text":"` + x[:maxText-3] + `…"}`, true},
		"deep":           {strings.Repeat(`[`, maxRaw), `{"text":"` + strings.Repeat("[", maxText-3) + `…"}`, true},
		"a list":         {`[1]`, `{"text":"[1]"}`, true},
		"a text":         {`"a"`, `{"text":"\"a\""}`, true},
		"no JSON":        {"{a\x1b", `{"text":"{a` + "\ufffd" + `"}`, true},
		"two objects":    {`{}{}`, `{"text":"{}{}"}`, true},
		"not UTF-8":      {"{\"a\":\"\xff\"}", `{"text":"{\"a\":\"` + "\ufffd" + `\"}"}`, true},
		"invisible":      {"{\"a\":\"\u202e\U000e0001\x7f\"}", `{"a":"\u202e\udb40\udc01\u007f"}`, false},
		"HTML":           {`{"a":"<&>"}`, `{"a":"<&>"}`, false},
	} {
		r := Entry{Actor: link.Principal{Kind: "user"}, Action: "a", Outcome: Done, Details: json.RawMessage(test.in)}.clean()
		require.Equal(t, test.want, r.Details, name)
		require.Equal(t, test.marked, r.Cleaned == "details", name)
	}
	require.JSONEq(t, `{"a":"b","c":""}`, string(Details("a", "b", "c")))
}

func FuzzClean(f *testing.F) {
	f.Add("user", "a\x00b\xff", "auth.login", []byte(`{"a":1}`))
	f.Add("", strings.Repeat("\u202e", 70), "x", []byte("{\"\\ud800\":\"\x7f\"}"))
	f.Add("k", strings.Repeat("é\\\"", 60), "", []byte(strings.Repeat(`{"a":`, 60)))
	f.Fuzz(func(t *testing.T, kind, text, action string, details []byte) {
		e := Entry{
			Actor: link.Principal{Kind: kind, ID: text, Name: text}, Via: text, Action: action, Resource: text,
			Outcome: Outcome(action), RequestID: text, TraceID: text, Address: text, Details: details,
		}
		r := e.clean()
		require.Equal(t, r, e.clean(), "the same each time")
		for field, most := range map[*string]int{
			&r.ActorKind: maxKind, &r.ActorID: maxName, &r.ActorName: maxName, &r.Via: maxVia, &r.Action: maxAction,
			&r.Resource: maxResource, &r.RequestID: maxID, &r.TraceID: maxID, &r.Address: maxAddress, &r.Details: maxDetails,
		} {
			require.LessOrEqual(t, len(*field), most)
			require.True(t, utf8.ValidString(*field))
			require.Equal(t, -1, strings.IndexFunc(*field, func(r rune) bool { return !unicode.IsPrint(r) }))
		}
		require.True(t, json.Valid([]byte(r.Details)))
		require.Equal(t, byte('{'), r.Details[0])
		again := Entry{
			Actor: link.Principal{Kind: r.ActorKind, ID: r.ActorID, Name: r.ActorName}, Via: r.Via, Action: r.Action,
			Resource: r.Resource, Outcome: Outcome(r.Outcome), RequestID: r.RequestID, TraceID: r.TraceID, Address: r.Address,
			Details: json.RawMessage(r.Details),
		}.clean()
		r.Cleaned = ""
		require.Equal(t, r, again, "what is clean stays as it is")
	})
}

func ExampleMark() {
	fmt.Println(Mark{Seq: 7}.String()[:6] + "…")
	// Output: 7:0000…
}

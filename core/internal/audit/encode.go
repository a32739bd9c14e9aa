package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
)

// version is that of the encoding below; a row keeps the one that it was made with.
const version = 1

// label begins what is hashed, so that it can be nothing else's hash.
const label = "platformd.audit.row.v1"

// encode is what the hash of a row is made of: a sequence of fields, each of them as its length in bytes (4 bytes, big endian)
// and its bytes. The fields, in this order:
//
//	 1  the text "platformd.audit.row.v1"
//	 2  prev_hash: the 32 bytes of the hash of the row before; 32 zero bytes for row 1
//	 3  seq: 8 bytes, big endian
//	 4  at: microseconds since 1970-01-01 UTC, 8 bytes, big endian, two's complement
//	 5  actor_kind     6  actor_id     7  actor_name     8  via         9  action    10  resource
//	11  outcome       12  request_id  13  trace_id      14  address    15  details   16  cleaned
//
// Fields 5 to 16 are the bytes of the columns, in UTF-8. As each field says how long it is, and their number is fixed, two
// different rows are never encoded alike. The hash is the SHA-256 of all that.
func (r *row) encode() []byte {
	return fields([]byte(label), r.PrevHash, number(r.Seq), number(r.At),
		[]byte(r.ActorKind), []byte(r.ActorID), []byte(r.ActorName), []byte(r.Via), []byte(r.Action), []byte(r.Resource),
		[]byte(r.Outcome), []byte(r.RequestID), []byte(r.TraceID), []byte(r.Address), []byte(r.Details), []byte(r.Cleaned))
}

func (r *row) sum() []byte {
	sum := sha256.Sum256(r.encode())
	return sum[:]
}

// intact tells whether the row's content is what its hash was made of.
func (r *row) intact() bool { return r.Version == version && bytes.Equal(r.Hash, r.sum()) }

// follow makes r the row after seq, whose hash is prev.
func (r *row) follow(seq int64, prev []byte) {
	r.Seq, r.PrevHash, r.Version = seq+1, prev, version
	r.Hash = r.sum()
}

// anchorLabel is label, for anchors.
const anchorLabel = "platformd.audit.anchor.v1"

// link is the hash of an anchor and of those before it: of anchorLabel, the link of the anchor before (32 zero bytes for the
// first), n, seq, hash and at, encoded as the fields of a row are.
func (a *anchor) link(prev []byte) []byte {
	sum := sha256.Sum256(fields([]byte(anchorLabel), prev, number(a.N), number(a.Seq), a.Hash, number(a.At)))
	return sum[:]
}

// seal is what the details of the row that tells of the removal say. It ties the anchors, which stand beside the chain, into it.
func (a *anchor) seal(from int64) json.RawMessage {
	return encodeJSON(struct {
		Anchor int64 `json:"anchor"`
		From   int64 `json:"from"`
		UpTo   int64 `json:"up_to"`
		Hash   Hash  `json:"hash"`
		Link   Hash  `json:"link"`
	}{a.N, from, a.Seq, hashOf(a.Hash), hashOf(a.Link)})
}

func fields(list ...[]byte) []byte {
	size := 0
	for _, field := range list {
		size += 4 + len(field)
	}
	out := make([]byte, 0, size)
	for _, field := range list {
		out = binary.BigEndian.AppendUint32(out, uint32(len(field)))
		out = append(out, field...)
	}
	return out
}

func number(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// encodeJSON is for values that can be encoded. Unlike json.Marshal it leaves <, > and & as they are.
func encodeJSON(value any) json.RawMessage {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // texts and numbers
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

package mux

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"io"
)

// What a connection to the data socket begins with, if it is not HTTP/1.1. Zero begins no HTTP method.
const magic = "\x00pdlink\x01"

// role is what a connection is for.
type role uint8

const (
	roleFrames role = iota + 1
	roleSide
)

// preface opens a connection.
type preface struct {
	role role
	// Of a side connection: its own id, and that of the exchange that wants it.
	side, exchange uint32
}

// prefaceSize is the magic, the role, two ids and the SHA-256 of the secret.
const prefaceSize = len(magic) + 1 + 4 + 4 + sha256.Size

var errPreface = errors.New("the connection is neither HTTP/1.1 nor of a core that this module understands")

func (p preface) append(dst, secret []byte) []byte {
	dst = append(append(dst, magic...), byte(p.role))
	dst = binary.BigEndian.AppendUint32(dst, p.side)
	dst = binary.BigEndian.AppendUint32(dst, p.exchange)
	sum := sha256.Sum256(secret)
	return append(dst, sum[:]...)
}

// readPreface reads what append wrote. An empty secret lets nobody in.
func readPreface(r io.Reader, secret []byte) (p preface, err error) {
	var raw [prefaceSize]byte
	if _, err := io.ReadFull(r, raw[:]); err != nil {
		return p, err
	}
	ids := raw[len(magic)+1:]
	p = preface{
		role: role(raw[len(magic)]),
		side: binary.BigEndian.Uint32(ids), exchange: binary.BigEndian.Uint32(ids[4:]),
	}
	want := sha256.Sum256(secret)
	same := subtle.ConstantTimeCompare(ids[8:], want[:]) == 1
	if string(raw[:len(magic)]) != magic || len(secret) == 0 || !same || p.role != roleFrames && p.role != roleSide {
		return preface{}, errPreface
	}
	return p, nil
}

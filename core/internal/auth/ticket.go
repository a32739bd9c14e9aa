package auth

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"strings"
	"time"

	"github.com/platformd/platformd/plugin-api/link"
)

const (
	// ticketPrefix tells tickets from everything else.
	ticketPrefix = "pft_"
	// ticketTTL is how long a ticket is valid: as long as a request takes that a module makes on its way to an answer.
	ticketTTL = time.Minute
	// maxTicket bounds the bytes of a ticket that are looked at: the most permissions that a token can have fit.
	maxTicket = 64 << 10
	// ticketVersion is the first byte of a ticket.
	ticketVersion = 1
	// kidBytes are those of a key's id.
	kidBytes = 8
	// macAt and bodyAt are where the parts of a ticket begin.
	macAt  = 1 + kidBytes
	bodyAt = macAt + len(digest{})
)

// ErrInvalidTicket is what an unknown, expired or malformed ticket gets, or one that another module was given.
var ErrInvalidTicket = errors.New("the ticket is not valid (fix: make the call while the request that it belongs to is answered)")

// Ticket is on whose behalf a module calls.
type Ticket struct {
	Identity
	RequestID string
	Expires   time.Time // whole seconds
}

// Mint makes a ticket by which a module, the audience, shows until it expires, in a minute, that it works on behalf of who. It
// holds the bounds of the credential: the module can do no more with it than its caller. Only the core can make or read one, as
// the key is the core's (HMAC-SHA256); replicas share it, so that each reads the tickets of all. Without a key there is none: "".
func (s *Service) Mint(who *Identity, audience, requestID string) (ticket string, expires time.Time) {
	expires = s.now().Add(ticketTTL).UTC().Truncate(time.Second)
	if ticket = s.mint(Ticket{Identity: *who, RequestID: requestID, Expires: expires}, audience); ticket == "" {
		return "", time.Time{}
	}
	return ticket, expires
}

// Derive makes a ticket for another audience, by which it works on behalf of the same caller. It expires when the first one does:
// modules that call each other must not make it last. Without a key there is none: "".
func (s *Service) Derive(from *Ticket, audience string) string { return s.mint(*from, audience) }

func (s *Service) mint(t Ticket, audience string) string {
	k := s.keys.set.Load().signer(purposeTicket, s.now())
	if k == nil { // somebody deleted the key: no ticket is better than one that anybody could make
		return ""
	}
	p := k.scribe()
	defer k.scribes.Put(p)
	p.ticket = append(p.ticket[:0], ticketVersion)
	p.ticket = append(p.ticket, k.kid...)
	p.ticket = append(p.ticket, make([]byte, len(digest{}))...)
	p.ticket = appendBody(p.ticket, &t.Identity, audience, t.RequestID)
	p.ticket = binary.AppendVarint(p.ticket, t.Expires.Unix())
	copy(p.ticket[macAt:], p.sign(p.ticket))
	p.text = append(p.text[:0], ticketPrefix...)
	p.text = base64.RawURLEncoding.AppendEncode(p.text, p.ticket)
	return string(p.text)
}

// scribe is what it takes to make or read a ticket, used again and again: tickets are made for every request.
type scribe struct {
	mac               hash.Hash
	sum, ticket, text []byte
}

func (k *key) scribe() *scribe {
	p, _ := k.scribes.Get().(*scribe) // it holds nothing else
	return p
}

// sign returns the HMAC-SHA256 of a ticket whose own place for it is not counted. It is good until the next one.
func (p *scribe) sign(ticket []byte) []byte {
	p.mac.Reset()
	p.mac.Write(ticket[:macAt])
	p.mac.Write(ticket[bodyAt:])
	p.sum = p.mac.Sum(p.sum[:0])
	return p.sum
}

func appendBody(to []byte, who *Identity, audience, requestID string) []byte {
	for _, field := range [...]string{audience, who.Principal.Kind, who.Principal.ID, who.Principal.Name, who.Session, requestID} {
		to = appendField(to, field)
	}
	if who.Permissions == nil {
		return binary.AppendUvarint(to, 0)
	}
	to = binary.AppendUvarint(to, uint64(len(who.Permissions))+1)
	for _, pattern := range who.Permissions {
		to = appendField(to, pattern)
	}
	return to
}

func appendField(to []byte, field string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(field))), field...)
}

// ReadTicket returns what a ticket says that was minted for the audience, the module which hands it back, or ErrInvalidTicket.
// Any other error means that it could not find out.
func (s *Service) ReadTicket(ctx context.Context, ticket, audience string) (Ticket, error) {
	raw, ok := decodeTicket(ticket)
	if !ok {
		return Ticket{}, ErrInvalidTicket
	}
	k, err := s.keys.find(ctx, purposeTicket, hex.EncodeToString(raw[1:macAt]))
	if errors.Is(err, errUnknownKey) {
		return Ticket{}, ErrInvalidTicket
	}
	if err != nil {
		return Ticket{}, err
	}
	p := k.scribe()
	defer k.scribes.Put(p)
	if subtle.ConstantTimeCompare(p.sign(raw), raw[macAt:bodyAt]) != 1 {
		return Ticket{}, ErrInvalidTicket
	}
	found, minted, ok := readBody(raw[bodyAt:])
	if !ok || minted != audience || !s.now().Before(found.Expires) {
		return Ticket{}, ErrInvalidTicket
	}
	return found, nil
}

// decodeTicket undoes the spelling of a ticket, of which there is one.
func decodeTicket(ticket string) ([]byte, bool) {
	encoded, found := strings.CutPrefix(ticket, ticketPrefix)
	if !found || len(encoded) > maxTicket || !isBase64URL(encoded) {
		return nil, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	return raw, err == nil && len(raw) > bodyAt && raw[0] == ticketVersion
}

// body is what is left to read of a ticket. Its bytes are those that Mint wrote, but nothing here relies on that.
type body struct {
	left []byte
	bad  bool
}

func (b *body) number() uint64 {
	n, size := binary.Uvarint(b.left)
	if size <= 0 {
		b.bad = true
		return 0
	}
	b.left = b.left[size:]
	return n
}

func (b *body) text() string {
	n := b.number()
	if n > uint64(len(b.left)) {
		b.bad = true
		return ""
	}
	text := string(b.left[:n])
	b.left = b.left[n:]
	return text
}

// patterns returns nil only if nil was written.
func (b *body) patterns() []string {
	n := b.number()
	if n == 0 || n-1 > uint64(len(b.left)) {
		b.bad = b.bad || n != 0
		return nil
	}
	all := make([]string, n-1)
	for i := range all {
		all[i] = b.text()
	}
	return all
}

func readBody(raw []byte) (t Ticket, audience string, ok bool) {
	b := body{left: raw}
	audience = b.text()
	t.Principal = link.Principal{Kind: b.text(), ID: b.text(), Name: b.text()}
	t.Session, t.RequestID = b.text(), b.text()
	t.Permissions = b.patterns()
	seconds, size := binary.Varint(b.left)
	t.Expires = time.Unix(seconds, 0).UTC()
	return t, audience, !b.bad && size > 0 && size == len(b.left) && t.Principal.Kind != ""
}

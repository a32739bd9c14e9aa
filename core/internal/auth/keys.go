package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"gorm.io/gorm"
)

// What a key is for.
const (
	purposeSign   = "sign"   // access tokens
	purposeTicket = "ticket" // tickets, and the state of sign-ins elsewhere
)

const (
	// keyAge is how old the keys may be that a replica signs with.
	keyAge = 30 * time.Second
	// keyPause is the least time between two readings of the keys, however many tokens come with a key that is not known.
	keyPause = 5 * time.Second
	// keyWait bounds one reading.
	keyWait = 5 * time.Second
	// keySpread is how long a new key waits before it signs: by then every replica has read it (keyAge), even with a clock that
	// is half of it wrong. Nobody ever meets a token that is good and has a key that is not known.
	keySpread = time.Minute
	// keyLife is the age at which Run replaces a key.
	keyLife = 90 * 24 * time.Hour
	// keySlack is for how much longer than its last token a key verifies: for clocks that disagree, and for a replica that could
	// not read the keys when they changed.
	keySlack = 10 * time.Minute
)

// errUnknownKey means that there is no such key, or no more.
var errUnknownKey = errors.New("the key is not known (fix: get a new token)")

// key is one that can be used. It does not change.
type key struct {
	keyRow
	kid     []byte             // ID as bytes
	private ed25519.PrivateKey // of purposeSign
	scribes *sync.Pool         // of purposeTicket: *scribe
	state   []byte             // of purposeTicket: seals the state of sign-ins elsewhere
}

// newKey reads what the database holds. Anything odd is an error: rather no key than a weak one.
func newKey(r keyRow) (*key, error) {
	kid, err := hex.DecodeString(r.ID)
	if err != nil || len(kid) != kidBytes || len(r.Private) != ed25519.SeedSize {
		return nil, fmt.Errorf("key %s is damaged (fix: delete its row of %s; a new one will be made)", r.ID, keysTable)
	}
	k := &key{keyRow: r, kid: kid}
	if r.Purpose == purposeSign {
		k.private = ed25519.NewKeyFromSeed(r.Private)
		return k, nil
	}
	mac, err := derive(r.Private, "ticket")
	if err != nil {
		return nil, err
	}
	k.scribes = &sync.Pool{New: func() any { return &scribe{mac: hmac.New(sha256.New, mac)} }}
	k.state, err = derive(r.Private, "oidc state")
	return k, err
}

// public returns the half of the key that everybody may have.
func (k *key) public() ed25519.PublicKey {
	public, _ := k.private.Public().(ed25519.PublicKey) // of a signing key; otherwise nil
	return public
}

func (k *key) verifies(now time.Time) bool { return k.ExpiresAt == nil || now.Before(*k.ExpiresAt) }

func (k *key) signs(now time.Time) bool {
	return !now.Before(k.SignsAt) && (k.RetiresAt == nil || now.Before(*k.RetiresAt))
}

// keySet is what was read at one moment. It does not change.
type keySet struct {
	at   time.Time
	keys []*key // the newest first
}

func (s *keySet) find(purpose, id string, now time.Time) *key {
	for _, k := range s.keys {
		if k.ID == id && k.Purpose == purpose && k.verifies(now) {
			return k
		}
	}
	return nil
}

// signer is the key that signs now. Where none does, because this replica's clock is behind that of the one which made it, the
// newest one signs.
func (s *keySet) signer(purpose string, now time.Time) *key {
	var newest *key
	for _, k := range s.keys {
		if k.Purpose != purpose {
			continue
		}
		if k.signs(now) {
			return k
		}
		if newest == nil && k.verifies(now) {
			newest = k
		}
	}
	return newest
}

// keyring is the keys that all replicas share. It is safe for concurrent use.
type keyring struct {
	db      *gorm.DB
	ttl     time.Duration // of access tokens
	now     func() time.Time
	set     atomic.Pointer[keySet]
	reading chan struct{} // whoever is in it reads, and owns what follows
	tried   time.Time
	failed  error
}

func newKeyring(db *gorm.DB, ttl time.Duration, now func() time.Time) *keyring {
	k := &keyring{db: db, ttl: ttl, now: now, reading: make(chan struct{}, 1)}
	k.set.Store(&keySet{})
	return k
}

// find returns the key by which something claims to be signed, or errUnknownKey.
func (k *keyring) find(ctx context.Context, purpose, id string) (*key, error) {
	now := k.now()
	if found := k.set.Load().find(purpose, id, now); found != nil {
		return found, nil
	}
	if err := k.read(ctx, keyPause); err != nil {
		return nil, err
	}
	if found := k.set.Load().find(purpose, id, now); found != nil {
		return found, nil
	}
	return nil, errUnknownKey
}

// signing returns the key to sign an access token with.
func (k *keyring) signing(ctx context.Context) (*key, error) {
	if err := k.fresh(ctx); err != nil {
		return nil, err
	}
	if found := k.set.Load().signer(purposeSign, k.now()); found != nil {
		return found, nil
	}
	if err := k.ensure(ctx); err != nil { // somebody deleted it
		return nil, err
	}
	if found := k.set.Load().signer(purposeSign, k.now()); found != nil {
		return found, nil
	}
	return nil, errUnknownKey
}

// fresh reads the keys if it is too long ago.
func (k *keyring) fresh(ctx context.Context) error {
	if age := k.now().Sub(k.set.Load().at); age >= 0 && age < keyAge {
		return nil
	}
	return k.read(ctx, keyPause)
}

// read reads the keys, unless it was tried within pause: then it returns what came of that. Those who come while somebody reads
// wait for the same answer, so that a flood of tokens with unknown keys costs one query. Who reads goes on when its own client
// leaves, since others wait for it.
func (k *keyring) read(ctx context.Context, pause time.Duration) error {
	select {
	case k.reading <- struct{}{}:
		defer func() { <-k.reading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	now := k.now()
	if age := now.Sub(k.tried); !k.tried.IsZero() && age >= 0 && age < pause {
		return k.failed
	}
	k.tried = now
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyWait)
	defer cancel()
	k.failed = k.load(ctx)
	return k.failed
}

func (k *keyring) load(ctx context.Context) error {
	rows, err := readKeys(k.db.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("read the keys: %w", err)
	}
	set := &keySet{at: k.now()}
	for _, r := range rows {
		parsed, err := newKey(r)
		if err != nil {
			return fmt.Errorf("read the keys: %w", err)
		}
		set.keys = append(set.keys, parsed)
	}
	k.set.Store(set)
	return nil
}

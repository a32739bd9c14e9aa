package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

const (
	// slots is how many passwords are hashed at a time. One takes 19 MiB and tens of milliseconds of a processor, of which the core
	// leaves one to the modules (docs/decisions/0010), and argon2 lets nobody in between: those who sign in wait for each other
	// rather than take the machine.
	slots    = 2
	saltSize = 16
	keySize  = 32
)

// recommended is OWASP's first choice for argon2id (Password Storage Cheat Sheet).
func recommended() params { return params{Memory: 19 * 1024, Time: 2, Threads: 1} }

// hasher hashes passwords. It is safe for concurrent use.
type hasher struct {
	params params // of new hashes
	turn   chan struct{}
	derive func(password string, p params, salt []byte, size int) []byte
}

func newHasher() *hasher {
	return &hasher{params: recommended(), turn: make(chan struct{}, slots), derive: derive}
}

// derive hashes a password in the one form of all that look alike (NFKC), as SP 800-63B asks: keyboards differ.
func derive(password string, p params, salt []byte, size int) []byte {
	return argon2.IDKey(norm.NFKC.Bytes([]byte(password)), salt, p.Time, p.Memory, p.Threads, uint32(size)) // size is keySize or so
}

// hash returns a new hash of the password. It waits for its turn as long as ctx lasts.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	made := phc{params: h.params, Salt: random(saltSize)}
	key, err := h.key(ctx, password, made, keySize)
	if err != nil {
		return "", err
	}
	made.Key = key
	return made.String(), nil
}

// matches tells whether stored is a hash of the password. Without one it does the same work, for no password.
func (h *hasher) matches(ctx context.Context, stored, password string) (bool, error) {
	want := phc{params: h.params, Salt: random(saltSize), Key: random(keySize)}
	if stored != "" {
		var err error
		if want, err = parsePHC(stored); err != nil {
			return false, fmt.Errorf("read a stored password: %w (fix: set a new password for the user)", err)
		}
	}
	key, err := h.key(ctx, password, want, len(want.Key))
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(key, want.Key) == 1 && stored != "", nil
}

// outdated tells whether a hash that matched was made otherwise than new ones are.
func (h *hasher) outdated(stored string) bool {
	made, err := parsePHC(stored)
	return err != nil || made.params != h.params || len(made.Salt) != saltSize || len(made.Key) != keySize
}

func (h *hasher) key(ctx context.Context, password string, with phc, size int) ([]byte, error) {
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil { // also for those who left just as their turn came
		return nil, fmt.Errorf("wait to hash a password: %w", err)
	}
	return h.derive(password, with.params, with.Salt, size), nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand, Go 1.24)
	return b
}

package identity

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// params are what argon2id is told beside password and salt.
type params struct {
	Memory  uint32 // KiB
	Time    uint32
	Threads uint8
}

// phc is a hash of a password with what it was made with.
type phc struct {
	params
	Salt []byte
	Key  []byte
}

// What a stored hash may ask for: whoever can write the database must not be able to take the core's memory with one.
const (
	maxMemory  = 64 * 1024 // KiB: the second choice of RFC 9106
	maxTime    = 10
	maxThreads = 4
	minSalt    = 8
	maxSalt    = 64
	minKey     = 16
	maxKey     = 64
)

var errPHC = errors.New("not an argon2id hash in the PHC string format")

// String is the PHC string format: $argon2id$v=19$m=19456,t=2,p=1$SALT$KEY, the last two in base64 without padding.
func (h phc) String() string {
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", h.Memory, h.Time, h.Threads,
		base64.RawStdEncoding.EncodeToString(h.Salt), base64.RawStdEncoding.EncodeToString(h.Key))
}

// parsePHC reads what String writes, and no other spelling of it.
func parsePHC(s string) (phc, error) {
	var h phc
	parts := strings.Split(s, "$")
	if len(parts) != 6 {
		return phc{}, errPHC
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.Memory, &h.Time, &h.Threads); err != nil {
		return phc{}, errPHC
	}
	var saltErr, keyErr error
	h.Salt, saltErr = base64.RawStdEncoding.DecodeString(parts[4])
	h.Key, keyErr = base64.RawStdEncoding.DecodeString(parts[5])
	if saltErr != nil || keyErr != nil || !h.sane() || h.String() != s {
		return phc{}, errPHC
	}
	return h, nil
}

func (h phc) sane() bool {
	return h.Threads >= 1 && h.Threads <= maxThreads && h.Time >= 1 && h.Time <= maxTime &&
		h.Memory >= 8*uint32(h.Threads) && h.Memory <= maxMemory &&
		len(h.Salt) >= minSalt && len(h.Salt) <= maxSalt && len(h.Key) >= minKey && len(h.Key) <= maxKey
}

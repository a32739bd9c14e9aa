package signing

import (
	"fmt"
	"os"
	"strings"
	"time"

	"aead.dev/minisign"
)

// Key is a public key.
type Key struct {
	// ID is 16 hexadecimal digits in capitals. It is a name, and no proof: anybody can make a key with the same.
	ID string
	// Comment is what its file says about it, without anything that a terminal would obey.
	Comment string
	// Added is when it was trusted; zero for one that is not.
	Added time.Time

	public minisign.PublicKey
}

func idText(id uint64) string { return fmt.Sprintf("%016X", id) }

const commentMark = "untrusted comment:"

// ParseKey reads the file of a public key.
func ParseKey(text []byte) (Key, error) {
	var k Key
	if err := k.public.UnmarshalText(text); err != nil {
		return Key{}, &Error{Code: "not_a_key", Err: err, Message: "this is no public key of minisign",
			Fix: "name the .pub file that `platformd keygen` or `minisign -G` has made"}
	}
	first, _, _ := strings.Cut(string(text), "\n")
	if comment, found := strings.CutPrefix(first, commentMark); found {
		k.Comment = strings.TrimSpace(harmless(comment))
	}
	k.ID = idText(k.public.ID())
	return k, nil
}

// LoadKey is ParseKey for the file of that name.
func LoadKey(path string) (Key, error) {
	text, err := readText(path)
	if err != nil {
		return Key{}, err
	}
	return ParseKey(text)
}

// Text is the key's file.
func (k Key) Text() []byte { return fmt.Appendf(nil, "%s %s\n%s\n", commentMark, k.Comment, k.public) }

// Secret is a secret key.
type Secret struct{ key minisign.PrivateKey }

// Generate makes a key that nobody else has.
func Generate() (Secret, error) {
	_, key, err := minisign.GenerateKey(nil)
	if err != nil {
		return Secret{}, fmt.Errorf("make a key: %w", err)
	}
	return Secret{key}, nil
}

// Public is the key that others verify with.
func (s Secret) Public() Key {
	public, _ := s.key.Public().(minisign.PublicKey) // it is always one
	id := idText(public.ID())
	return Key{ID: id, Comment: "minisign public key " + id, public: public}
}

// Text is the key's file, encrypted unless the passphrase is empty. Encryption takes a second and a gigabyte of memory, so that
// guessing does, too.
func (s Secret) Text(passphrase string) ([]byte, error) {
	text, err := s.key.MarshalText()
	if passphrase != "" {
		text, err = minisign.EncryptKey(passphrase, s.key)
	}
	if err != nil {
		return nil, fmt.Errorf("write the key: %w", err)
	}
	return append(text, '\n'), nil
}

// LoadSecret reads the file of a secret key. passphrase is called if the key is encrypted. A key that is not must be its owner's
// alone to read.
func LoadSecret(path string, passphrase func() (string, error)) (Secret, error) {
	text, err := readText(path)
	if err != nil {
		return Secret{}, err
	}
	var s Secret
	if minisign.IsEncrypted(text) {
		word, err := passphrase()
		if err != nil {
			return Secret{}, err
		}
		if s.key, err = minisign.DecryptKey(word, text); err != nil {
			return Secret{}, &Error{Code: "wrong_passphrase", Err: err, Message: "the passphrase does not open the key " + path,
				Fix: "try another passphrase"}
		}
		return s, nil
	}
	if err := s.key.UnmarshalText(text); err != nil {
		return Secret{}, &Error{Code: "not_a_key", Err: err, Message: path + " is no secret key of minisign",
			Fix: "name the file that `platformd keygen` or `minisign -G` has made, not the .pub beside it"}
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = &Error{Code: "readable_key", Message: path + " has no passphrase, and others than its owner can read it",
			Fix: "chmod 600 " + path}
	}
	return s, err
}

// IsSecret reports whether a text is the file of a secret key, encrypted or not.
func IsSecret(text []byte) bool {
	var key minisign.PrivateKey
	return minisign.IsEncrypted(text) || key.UnmarshalText(text) == nil
}

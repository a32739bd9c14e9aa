package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/backend"
)

// derive makes a secret for one use out of a key, so that what was made for one never passes for another.
func derive(private []byte, use string) ([]byte, error) {
	return hkdf.Key(sha256.New, private, nil, "platformd "+use, sha256.Size)
}

func readKeys(db *gorm.DB) (rows []keyRow, err error) {
	return rows, db.Order("signs_at DESC, id").Find(&rows).Error
}

// lockKeys lets one daemon at a time change the keys. On SQLite the transaction holds the file's write lock already.
func lockKeys(tx *gorm.DB) error {
	if tx.Name() == backend.PostgreSQL {
		return tx.Exec("LOCK TABLE " + keysTable + " IN SHARE ROW EXCLUSIVE MODE").Error
	}
	return nil
}

// ensure makes the keys that are not there, one daemon after the other, and reads them all.
func (k *keyring) ensure(ctx context.Context) error {
	return k.change(ctx, func(tx *gorm.DB, rows []keyRow) error {
		for _, purpose := range []string{purposeSign, purposeTicket} {
			if slices.ContainsFunc(rows, func(r keyRow) bool { return r.Purpose == purpose && r.RetiresAt == nil }) {
				continue
			}
			if err := k.create(tx, purpose, k.now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// rotate makes new keys in place of those for which old is true. The old ones sign until keySpread is over, and verify until all
// that they signed has expired.
func (k *keyring) rotate(ctx context.Context, old func(*keyRow) bool) error {
	return k.change(ctx, func(tx *gorm.DB, rows []keyRow) error {
		at := k.now().Add(keySpread)
		for _, r := range rows {
			if r.RetiresAt != nil || !old(&r) {
				continue
			}
			end := at.Add(k.lifetime(r.Purpose) + keySlack)
			err := tx.Model(&keyRow{}).Where("id = ?", r.ID).Updates(keyRow{RetiresAt: &at, ExpiresAt: &end}).Error
			if err != nil {
				return err
			}
			if err := k.create(tx, r.Purpose, at); err != nil {
				return err
			}
		}
		return nil
	})
}

// change changes the keys while no other daemon does, and reads what has come of it.
func (k *keyring) change(ctx context.Context, work func(tx *gorm.DB, rows []keyRow) error) error {
	err := k.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := lockKeys(tx); err != nil {
			return err
		}
		rows, err := readKeys(tx)
		if err != nil {
			return err
		}
		return work(tx, rows)
	})
	if err != nil {
		return fmt.Errorf("change the keys: %w", err)
	}
	return k.read(ctx, 0)
}

func (k *keyring) create(tx *gorm.DB, purpose string, signsAt time.Time) error {
	r := keyRow{
		ID: newID(), Purpose: purpose, Algorithm: "HMAC-SHA256", Private: make([]byte, ed25519.SeedSize), CreatedAt: k.now(),
		SignsAt: signsAt,
	}
	if purpose == purposeSign {
		r.Algorithm = "EdDSA"
	}
	_, _ = rand.Read(r.Private) // never fails (crypto/rand, Go 1.24)
	return tx.Create(&r).Error
}

// lifetime is how long what a key signs is valid.
func (k *keyring) lifetime(purpose string) time.Duration {
	if purpose == purposeSign {
		return k.ttl
	}
	return max(ticketTTL, stateTTL)
}

// sweep deletes keys that have verified nothing for long.
func (k *keyring) sweep(ctx context.Context) error {
	return k.db.WithContext(ctx).Where("expires_at < ?", k.now().Add(-keyLife)).Delete(&keyRow{}).Error
}

// Rotate makes new keys: one for access tokens, one for tickets. They sign from a minute on, when every replica knows them; the
// old ones verify until what they signed has expired.
func (s *Service) Rotate(ctx context.Context) error {
	return s.keys.rotate(ctx, func(*keyRow) bool { return true })
}

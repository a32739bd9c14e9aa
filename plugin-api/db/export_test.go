package db

import (
	"time"

	"gorm.io/gorm"
)

// Untidy has the next Once look through the inbox.
func Untidy(db *gorm.DB) {
	if o, err := outletOf(db); err == nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.tidied = time.Time{}
	}
}

// Package session holds what GORM is told in the same way whatever the database: names, times, the log of queries, and what
// an error means to the client of a module that returns it.
//
// It must not know any driver.
package session

import (
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/go-hclog"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// MaxIdentifier is the longest name of a table, column or index, in characters: PostgreSQL's limit, kept everywhere so that a
// schema means the same on every database.
const MaxIdentifier = 63

// Config is what every database is opened with. A nil naming is GORM's own, a nil log discards.
func Config(naming schema.Namer, log hclog.Logger) *gorm.Config {
	if naming == nil {
		naming = schema.NamingStrategy{IdentifierMaxLength: MaxIdentifier}
	}
	return &gorm.Config{
		NamingStrategy:       naming,
		Logger:               newLogger(log),
		TranslateError:       true,
		DisableAutomaticPing: true,
		// UTC and microseconds are what every database keeps: a value reads back as it was written.
		NowFunc: func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) },
	}
}

// Close closes every connection of db and waits for running queries to end.
func Close(db *gorm.DB) error {
	pool, ok := db.Config.ConnPool.(io.Closer)
	if !ok {
		return fmt.Errorf("close database: a %T cannot be closed (fix: close what was opened, not a transaction)", db.Config.ConnPool)
	}
	if err := pool.Close(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"
)

// Listen hears what sessions of db's database say on a channel (NOTIFY), on a connection of its own that db's pool does not
// count. heard is called with "" when it begins to listen, then with each message, one at a time. Listen returns, with an error,
// when ctx or the connection ends: what is said until it is called again is not heard.
func Listen(ctx context.Context, db *gorm.DB, channel string, heard func(message string)) (err error) {
	config, err := configOf(ctx, db)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", channel, translate(err))
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", channel, translate(err))
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
		defer cancel()
		_ = conn.Close(closing) // it may be broken; that is what err says
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return fmt.Errorf("listen on %s: %w", channel, translate(err))
	}
	for message := ""; ; {
		heard(message)
		said, err := conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", channel, translate(err))
		}
		message = said.Payload
	}
}

// configOf is how the connections of a pool are made.
func configOf(ctx context.Context, db *gorm.DB) (config *pgx.ConnConfig, err error) {
	sqlDB, err := db.DB()
	if err != nil {
		return nil, err
	}
	conn, err := sqlDB.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	err = conn.Raw(func(native any) error {
		own, ok := native.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("the database is not PostgreSQL: its connections are %T", native)
		}
		config = own.Conn().Config()
		config.OnNotification = nil // what pgx has put there belongs to that connection
		return nil
	})
	return config, err
}

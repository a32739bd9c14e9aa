package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// leaveTime is how long the server, on a machine that has much to do, may take to notice that a connection of ours was closed,
	// and count it no more.
	leaveTime = 5 * time.Second
	// leavePause is the time between two looks.
	leavePause = 20 * time.Millisecond
)

// connector makes the connections of a pool that has as many as its role may have. pgx closes a connection whose query is
// canceled, and the pool wants another before the server has ended the first: then it waits a little, rather than tell a
// caller that there is none left.
//
// To cancel the query alone (pgconn.CancelRequestContextWatcherHandler) would keep the connection, but its author calls that
// inherently racy: the server may cancel the next query instead, and every cancellation holds the connection for 100 ms.
type connector struct{ driver.Connector }

func newConnector(config *pgx.ConnConfig) connector {
	return connector{stdlib.GetConnector(*config, stdlib.OptionAfterConnect(readUTC))}
}

// Connect implements driver.Connector.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, leaveTime+connectTimeout)
	defer cancel()
	for began := time.Now(); ; {
		conn, err := c.Connector.Connect(ctx)
		if !errors.Is(translate(err), ErrTooMany) || time.Since(began) > leaveTime {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(leavePause):
		}
	}
}

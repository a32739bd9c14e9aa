package audit

import (
	"database/sql"
	"errors"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/backend"
)

// insertRows adds rows by a statement that is the same for any number of them: GORM's has a parameter for each value, so that a
// database would have to parse thousands of them anew for each batch.
func insertRows(tx *gorm.DB, rows []row) error {
	if tx.Name() == backend.PostgreSQL {
		return tx.AddError(insertArrays(tx, rows)) // translates it
	}
	return tx.AddError(insertEach(tx, rows))
}

const columns = "seq, at, actor_kind, actor_id, actor_name, via, action, resource, outcome, request_id, trace_id, address, " +
	"details, cleaned, version, prev_hash, hash"

// insertArrays sends each column as an array: one statement, and one round trip.
func insertArrays(tx *gorm.DB, rows []row) error {
	const query = "INSERT INTO audit_rows (" + columns + ") SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], " +
		"$4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], " +
		"$13::text[], $14::text[], $15::bigint[], $16::bytea[], $17::bytea[])"
	_, err := tx.Statement.ConnPool.ExecContext(tx.Statement.Context, query,
		column(rows, func(r *row) int64 { return r.Seq }),
		column(rows, func(r *row) int64 { return r.At }),
		column(rows, func(r *row) string { return r.ActorKind }),
		column(rows, func(r *row) string { return r.ActorID }),
		column(rows, func(r *row) string { return r.ActorName }),
		column(rows, func(r *row) string { return r.Via }),
		column(rows, func(r *row) string { return r.Action }),
		column(rows, func(r *row) string { return r.Resource }),
		column(rows, func(r *row) string { return r.Outcome }),
		column(rows, func(r *row) string { return r.RequestID }),
		column(rows, func(r *row) string { return r.TraceID }),
		column(rows, func(r *row) string { return r.Address }),
		column(rows, func(r *row) string { return r.Details }),
		column(rows, func(r *row) string { return r.Cleaned }),
		column(rows, func(r *row) int { return r.Version }),
		column(rows, func(r *row) []byte { return r.PrevHash }),
		column(rows, func(r *row) []byte { return r.Hash }),
	)
	return err
}

func column[T any](rows []row, of func(*row) T) []T {
	values := make([]T, len(rows))
	for i := range rows {
		values[i] = of(&rows[i])
	}
	return values
}

// insertEach runs a prepared statement for each row: there is no way to the database that would be saved.
func insertEach(tx *gorm.DB, rows []row) (err error) {
	const query = "INSERT INTO audit_rows (" + columns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	ctx := tx.Statement.Context
	var statement *sql.Stmt
	if statement, err = tx.Statement.ConnPool.PrepareContext(ctx, query); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, statement.Close()) }()
	for _, r := range rows {
		_, err = statement.ExecContext(ctx, r.Seq, r.At, r.ActorKind, r.ActorID, r.ActorName, r.Via, r.Action, r.Resource, r.Outcome,
			r.RequestID, r.TraceID, r.Address, r.Details, r.Cleaned, r.Version, r.PrevHash, r.Hash)
		if err != nil {
			return err
		}
	}
	return nil
}

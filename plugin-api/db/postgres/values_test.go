package postgres_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/postgres"
)

func TestNoErrorShowsAValue(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: &out, Mutex: new(sync.Mutex)})
	db := fresh(t, postgres.Options{Log: log})
	require.NoError(t, db.Create(&author{Email: "secret"}).Error)
	out.Reset()
	for name, err := range map[string]error{
		"duplicate":     db.Create(&author{Email: "secret"}).Error,
		"check":         db.Create(&author{Email: "secret@example.org", Age: -1}).Error,
		"not a number":  db.Exec("UPDATE authors SET age = CAST(? AS text)::integer", "secret").Error,
		"not an id":     db.Where("email = CAST(? AS text) AND CAST(email AS uuid) IS NULL", "secret").Find(&[]author{}).Error,
		"another type":  db.Exec("UPDATE authors SET age = ?", "secret").Error,
		"not found":     db.Where("email = ?", "secret2").Take(&author{}).Error,
		"out of bounds": db.Exec("SELECT CAST(? AS text)::interval", "1 secret").Error,
		"no type":       db.Exec("UPDATE authors SET age = ?", struct{ Word string }{"secret"}).Error,
	} {
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "secret", name)
	}
	require.Contains(t, out.String(), `sql="UPDATE authors SET age = $1"`)
	require.Contains(t, out.String(), "failed to encode args[0]: the value is of another type")
	require.Contains(t, out.String(), "invalid input syntax for type uuid: … (SQLSTATE 22P02)", "what it was about is left")
	require.NotContains(t, out.String(), "secret")
}

func TestADeadlockHasAName(t *testing.T) {
	t.Parallel()
	db := fresh(t, postgres.Options{MaxConns: 2})
	require.NoError(t, db.Create([]author{{ID: 1, Email: "a@example.org"}, {ID: 2, Email: "b@example.org"}}).Error)
	grow := func(tx *gorm.DB, id int) error {
		return tx.Model(&author{}).Where("id = ?", id).Update("age", gorm.Expr("age + 1")).Error
	}
	var txs [2]*gorm.DB
	for i := range txs {
		txs[i] = db.Begin()
		require.NoError(t, txs[i].Error)
		require.NoError(t, grow(txs[i], i+1))
	}
	results := make(chan error, len(txs))
	for i, tx := range txs {
		go func() {
			err := grow(tx, 2-i) // the other's
			if err == nil {
				err = tx.Commit().Error
			} else {
				tx.Rollback()
			}
			results <- err
		}()
	}
	err := errors.Join(<-results, <-results)
	require.ErrorIs(t, err, postgres.ErrSerialization)
	require.ErrorContains(t, err, "fix: try again")
}

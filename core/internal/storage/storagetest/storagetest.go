// Package storagetest is what every backend of storage must pass.
//
// It is for tests only; it must not be used by the product.
package storagetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/step"
)

// Backend is one kind of database.
type Backend struct {
	// New makes an empty database for the length of the test, and returns how daemons open it: each call is one more daemon.
	New func(t *testing.T) func() storage.Options
	// Server tells that each process of a module has credentials of its own, which end.
	Server bool
}

// Run tests a backend.
func Run(t *testing.T, b Backend) {
	t.Helper()
	for name, test := range map[string]func(*testing.T){
		"an open database answers":           b.answers,
		"a login gives a usable database":    b.usable,
		"a ledger is read as it was written": b.ledger,
		"modules do not see each other":      b.apart,
		"what the core keeps stays":          b.stays,
		"eight open an empty database":       b.eight,
		"eight log in at once":               b.eightLogins,
		"steps of the core run once":         b.steps,
		"what a module has goes":             b.goes,
		"a login ends":                       b.ends,
		"run takes back what is left":        b.takesBack,
		"a cancelled open":                   b.cancelled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// Open opens a storage for the length of the test.
func Open(t *testing.T, o storage.Options) *storage.Storage {
	t.Helper()
	s, err := storage.Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// Login logs a process of the module in for the length of the test.
func Login(t *testing.T, s *storage.Storage, module string, access storage.Access) *storage.Login {
	t.Helper()
	login, err := s.Login(t.Context(), module, access)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, login.Close(context.WithoutCancel(t.Context()))) })
	return login
}

// Connect opens what a login gives, as the module's process does.
func Connect(t *testing.T, login *storage.Login) *gorm.DB {
	t.Helper()
	db, err := backend.Open(t.Context(), login.Database, backend.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, backend.Close(db)) })
	return db
}

func (b Backend) answers(t *testing.T) {
	s := Open(t, b.New(t)())
	require.NoError(t, s.Ping(t.Context()))
	require.NotEmpty(t, s.Name())
	require.NoError(t, s.Core().Exec("SELECT 1").Error)
}

// item is a model of a module.
type item struct {
	ID   int64 `gorm:"primaryKey"`
	Name string
}

func (b Backend) usable(t *testing.T) {
	s := Open(t, b.New(t)())
	for range 2 { // what there is is not made again
		owner := Connect(t, Login(t, s, "blog", storage.Owner))
		require.NoError(t, owner.AutoMigrate(&item{}))
	}
	for i := range 2 {
		db := Connect(t, Login(t, s, "blog", storage.ReadWrite))
		require.NoError(t, db.Create(&item{Name: "one"}).Error)
		var count int64
		require.NoError(t, db.Model(&item{}).Count(&count).Error)
		require.EqualValues(t, i+1, count)
		if b.Server {
			require.Error(t, db.Exec("CREATE TABLE blog_more (n integer)").Error, "a module at work changes no tables")
			require.Error(t, db.Exec("ALTER TABLE blog_items ADD COLUMN more integer").Error)
			require.Error(t, db.Exec("DROP TABLE blog_items").Error)
		}
	}
}

func (b Backend) ledger(t *testing.T) {
	s := Open(t, b.New(t)())
	rows, err := s.Ledger(t.Context(), "blog")
	require.NoError(t, err)
	require.Empty(t, rows, "of a module that nobody knows")
	login := Login(t, s, "blog", storage.Owner)
	require.Equal(t, s.Module("blog").Ledger, login.Database.Ledger)
	declared := []ledger.Declared{{ID: "0001"}, {ID: "0002", Checksum: "abc"}}
	for _, d := range declared {
		_, err := step.Run(t.Context(), Connect(t, login), login.Database.Ledger, step.Step{
			ID: d.ID, Declared: declared, Statements: []string{"CREATE TABLE blog_t" + d.ID + " (n integer)"},
		})
		require.NoError(t, err)
	}
	rows, err = s.Ledger(t.Context(), "blog")
	require.NoError(t, err)
	require.Equal(t, []string{"0001", "0002"}, ledger.IDs(rows))
	require.Equal(t, "abc", rows[1].Checksum)
	require.WithinDuration(t, time.Now(), rows[0].AppliedAt, time.Minute)
	require.Equal(t, time.UTC, rows[0].AppliedAt.Location())
	rows, err = s.Ledger(t.Context(), "billing")
	require.NoError(t, err)
	require.Empty(t, rows)
}

func (b Backend) apart(t *testing.T) {
	s := Open(t, b.New(t)())
	for _, module := range []string{"blog", "billing"} {
		owner := Connect(t, Login(t, s, module, storage.Owner))
		require.NoError(t, owner.Exec("CREATE TABLE same_name (n integer)").Error, "each has names of its own")
		require.NoError(t, owner.Exec("INSERT INTO same_name VALUES (?)", len(module)).Error)
	}
	blog := Connect(t, Login(t, s, "blog", storage.ReadWrite))
	var found []int
	require.NoError(t, blog.Raw("SELECT n FROM same_name").Scan(&found).Error)
	require.Equal(t, []int{len("blog")}, found)
	for _, other := range []string{"billing.same_name", "platformd.core_migrations", "core_migrations"} {
		require.Error(t, blog.Raw("SELECT 1 FROM "+other).Scan(&found).Error, other)
	}
}

func (b Backend) stays(t *testing.T) {
	open := b.New(t)
	options := open()
	for i := range 2 {
		s, err := storage.Open(t.Context(), options)
		require.NoError(t, err)
		if i == 0 {
			require.NoError(t, s.Core().Exec("CREATE TABLE kept (n integer)").Error)
		}
		require.NoError(t, s.Core().Exec("INSERT INTO kept VALUES (1)").Error)
		require.NoError(t, s.Close())
	}
	var count int
	require.NoError(t, Open(t, open()).Core().Raw("SELECT count(*) FROM kept").Scan(&count).Error)
	require.Equal(t, 2, count)
}

// together runs work in eight daemons at once.
func together(t *testing.T, open func() storage.Options, work func(*storage.Storage) error) {
	t.Helper()
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		options := open()
		all.Go(func() {
			s, err := storage.Open(t.Context(), options)
			if err == nil {
				err = errors.Join(work(s), s.Close())
			}
			errs[i] = err
		})
	}
	all.Wait()
	require.NoError(t, errors.Join(errs...))
}

func (b Backend) eight(t *testing.T) {
	together(t, b.New(t), func(s *storage.Storage) error { return s.Ping(t.Context()) })
}

func (b Backend) eightLogins(t *testing.T) {
	together(t, b.New(t), func(s *storage.Storage) error {
		for _, module := range []string{"blog", "billing"} {
			login, err := s.Login(t.Context(), module, storage.ReadWrite)
			if err != nil {
				return err
			}
			if err := login.Close(t.Context()); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b Backend) steps(t *testing.T) {
	open := b.New(t)
	var mu sync.Mutex
	ran := 0
	together(t, open, func(s *storage.Storage) error {
		for _, component := range []string{"auth", "audit"} {
			err := storage.MigrateCore(s.Core(), component, storage.CoreStep{ID: "0001", Up: func(tx *gorm.DB) error {
				mu.Lock()
				defer mu.Unlock()
				ran++
				return tx.Exec("CREATE TABLE of_" + component + " (n integer)").Error
			}})
			if err != nil {
				return err
			}
		}
		return nil
	})
	require.Equal(t, 2, ran)
	require.NoError(t, Open(t, open()).Core().Exec("INSERT INTO of_audit VALUES (1)").Error)
}

func (b Backend) ends(t *testing.T) {
	s := Open(t, b.New(t)())
	login, err := s.Login(t.Context(), "blog", storage.ReadWrite)
	require.NoError(t, err)
	db := Connect(t, login)
	require.NoError(t, db.Exec("SELECT 1").Error)
	began := time.Now()
	require.NoError(t, login.Close(t.Context()))
	require.Less(t, time.Since(began), 5*time.Second)
	if b.Server {
		require.Error(t, db.Exec("SELECT 1").Error)
		_, err = backend.Open(t.Context(), login.Database, backend.Options{})
		require.Error(t, err, "the password opens nothing any more")
	}
	require.NoError(t, login.Close(t.Context()), "twice is once")
}

func (b Backend) takesBack(t *testing.T) {
	s := Open(t, b.New(t)())
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	released, err := s.Login(t.Context(), "blog", storage.ReadWrite)
	require.NoError(t, err)
	left, err := s.Login(t.Context(), "billing", storage.ReadWrite)
	require.NoError(t, err)
	db, other := Connect(t, released), Connect(t, left)
	released.Release()
	if b.Server {
		require.Eventually(t, func() bool { return db.Exec("SELECT 1").Error != nil }, 10*time.Second, 10*time.Millisecond)
	}
	require.NoError(t, other.Exec("SELECT 1").Error, "it was not released")
	began := time.Now()
	cancel()
	running.Wait()
	require.Less(t, time.Since(began), 6*time.Second)
	if b.Server {
		require.Error(t, other.Exec("SELECT 1").Error)
	}
}

func (b Backend) cancelled(t *testing.T) {
	options := b.New(t)()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := storage.Open(ctx, options)
	require.ErrorIs(t, err, context.Canceled)
}
